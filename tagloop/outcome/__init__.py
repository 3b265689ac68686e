"""The files of an output folder that its report reads. This room knows no task."""
