"""Spans of characters in a text, as annotation tools write them -> words and tags, and back."""
