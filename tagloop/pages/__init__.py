"""Pictures, statistics and the HTML page of a report. This room knows no runs and no tasks."""
