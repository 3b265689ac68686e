"""Models and tokenizers: loaded, and checked before a run uses them."""
