"""Small pictures at once: Nitro-E, a transformer of 304 million parameters (E-MMDiT)."""
