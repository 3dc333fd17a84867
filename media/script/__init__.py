"""What every writer of scripts and copy shares: shots, their seconds, figures, limits, type."""
