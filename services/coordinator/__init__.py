"""Sequences campaigns: plans are pure, decisions are pure, `shell` does the IO."""
