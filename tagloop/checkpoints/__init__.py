"""Checkpoints: the state of a run on the disk, from which the run is resumed."""
