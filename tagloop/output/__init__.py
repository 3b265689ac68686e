"""The output of a run: its folder, logs, model card, uploads and trackers."""
