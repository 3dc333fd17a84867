"""What users bring: promised, fetched, checked in a sandbox, cleaned, and only then kept."""
