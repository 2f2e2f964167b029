"""The one place that knows Hugging Face internals: finding, loading and running encoders."""
