"""Pictures, statistics and the HTML page of a report; they know neither runs nor tasks."""
