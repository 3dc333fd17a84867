"""The machine: how it is set up, kept alive, saved and restored. Knows units, paths and users."""
