"""Who does the work. Services import contracts, bus and media, never one another."""
