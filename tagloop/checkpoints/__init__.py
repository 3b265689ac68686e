"""What a run keeps so that it can be taken up again, and how it is taken up."""
