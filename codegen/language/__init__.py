"""The spec language: what may be written (language), how it is read (load) and when it is refused (check)."""
