"""Measurements against the raw floors, in one run: `make bench`, or `python -m bench NAME …`."""
