"""Plain text to learn language from: read once, tokenized, packed into blocks on disk, and masked."""
