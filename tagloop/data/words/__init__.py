"""Sentences of words and tags, out of every format that has them."""
