"""Artifacts and edits -> disk: who owns a file, and an all-or-nothing commit."""
