"""Loss terms, one per file: a pure function on tensors and a thin class that declares its needs."""
