"""Entry points: which class loads a checkpoint."""
