"""Several methods, students and seeds on one task, against the same students trained without a teacher."""
