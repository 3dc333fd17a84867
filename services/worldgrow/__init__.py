"""WorldGrow: worlds of any size, block by block, in a Python of their own."""
