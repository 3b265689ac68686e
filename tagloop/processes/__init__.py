"""Several processes that act as one: launch, common decisions, sharding, the stop signal."""
