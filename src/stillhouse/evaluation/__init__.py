"""What models are worth: against gold labels, and against the teacher."""
