"""The draft engine for pictures: textless key visuals, drawn on the CPU."""
