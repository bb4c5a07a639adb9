"""Projections that are stored as one matrix or as several, behind one interface."""
