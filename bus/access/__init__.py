"""Who may do what on the bus and in the store: one declared table, and what is rendered from it."""
