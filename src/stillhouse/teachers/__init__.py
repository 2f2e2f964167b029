"""Teachers: sources of Features that student stages learn from."""
