"""Several people or things, each as its own picture has it, together in one: UMO."""
