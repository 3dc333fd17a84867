"""What travels: every message, record, subject and error. Imports stdlib and msgspec only."""
