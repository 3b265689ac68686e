"""Batches: the plan of an epoch, the micro-batches of an update, packed rows."""
