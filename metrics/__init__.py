"""The scorer, an `evaluate.Metric` that is loaded from here and never from a hub."""
