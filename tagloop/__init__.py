"""What train_loop.py is made of: data, tasks, training, output, and the sample."""
