"""A tag per word: named entities, parts of speech, chunks."""
