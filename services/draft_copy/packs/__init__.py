"""One line pack per language, as data."""
