"""Models and tokenizers: loaded, and checked before they are used."""
