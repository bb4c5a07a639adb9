"""Thin recipes: an example YAML, run on transformers' Trainer."""
