"""The rooms of train_loop.py; docs/house.md says what each of them is for."""
