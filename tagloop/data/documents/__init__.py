"""Files to tag: read piece by piece, and written back with their tags."""
