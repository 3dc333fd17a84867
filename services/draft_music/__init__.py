"""The draft music engine: beds composed for one film, on the CPU and without weights."""
