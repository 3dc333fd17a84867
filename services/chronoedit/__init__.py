"""Edits of one picture by ChronoEdit: the change is thought of as a short film."""
