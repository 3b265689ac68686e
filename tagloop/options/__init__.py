"""The options of a run: defined once, read from the command line and files, checked."""
