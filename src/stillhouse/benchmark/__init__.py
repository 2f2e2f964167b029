"""Size and speed of models."""
