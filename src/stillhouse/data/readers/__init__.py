"""Files, folders and names -> tables."""
