"""The built-in sample: a small corpus and a small model for it, which need no network."""
