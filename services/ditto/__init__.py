"""Restyling a film as an instruction says: Ditto's adapters on Wan2.1-VACE."""
