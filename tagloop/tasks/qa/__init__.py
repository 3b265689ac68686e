"""The task that finds the answer to a question in a context (SQuAD)."""
