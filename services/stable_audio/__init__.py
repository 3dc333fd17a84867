"""Music for a film's cut by Stable Audio, here or behind HTTP."""
