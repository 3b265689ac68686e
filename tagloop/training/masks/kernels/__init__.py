"""Triton kernels: hashed dropout, and attention with hashed dropout, in one launch each."""
