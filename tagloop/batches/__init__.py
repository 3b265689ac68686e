"""What an update computes: the plan of an epoch, micro-batches, packed rows."""
