"""Idempotent edits of single entries in files that people own; everything else in them stays byte for byte."""
