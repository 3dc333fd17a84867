"""MiniMax's Hailuo, bought over its API: short cinematic shots."""
