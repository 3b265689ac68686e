"""The report: one page with the scores, errors and curves of a run. Training does not need it."""
