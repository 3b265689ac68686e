"""Prepared data on the disk: built once per machine, and mapped into memory."""
