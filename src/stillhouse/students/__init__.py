"""Ways to make a student, each with a report of where every weight came from."""
