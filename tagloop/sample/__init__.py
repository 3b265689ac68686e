"""The embedded default: a small corpus and a model for it, without a network."""
