"""The draft engine for shots: textless animated plates, drawn on the CPU."""
