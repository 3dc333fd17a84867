"""Films of up to five minutes as a chain of shots: LongCat-Video, 13.6 billion parameters."""
