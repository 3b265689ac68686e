"""What train_loop.py is made of: data, tasks, training, output, and the sample."""

__version__ = "0.1.0"  # as pyproject.toml has it
