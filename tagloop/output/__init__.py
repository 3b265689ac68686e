"""What a run keeps, shows, and takes up again."""
