"""Watches the bus and shows what it sees to Prometheus. Writes nothing."""
