"""The rooms of train_loop.py; docs/house.md says what each of them is for."""

__version__ = "0.1.0"  # The same version stands in pyproject.toml.
