"""Mixers: what a layer calls under `attention` and `mlp`, one file a kind."""
