"""Watches the bus, shows what it sees to Prometheus, and says whether there is room for more."""
