"""What a run did and where it goes wrong, as one page with pictures. Training needs none of it."""
