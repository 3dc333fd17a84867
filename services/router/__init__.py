"""Every request to the right service, and every answer back."""
