"""Language models: a text continued (clm), and hidden words of a text found again (mlm)."""
