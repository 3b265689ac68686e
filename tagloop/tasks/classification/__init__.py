"""A class or a number for every text, or pair of texts."""
