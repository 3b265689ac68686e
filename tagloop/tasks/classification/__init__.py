"""The task with a class or a number for every text, or for every pair of texts."""
