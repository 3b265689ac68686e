"""Summarization: a text and a shorter one that says the same, written by an encoder-decoder."""
