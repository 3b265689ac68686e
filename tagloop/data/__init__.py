"""Bytes -> rows of words and tags. Knows no model."""
