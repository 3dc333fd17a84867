"""A device, its models and whole campaigns in simulated time, around the manager's own ledger."""
