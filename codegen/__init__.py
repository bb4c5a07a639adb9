"""A generator of model architectures: YAML specs become committed, readable PyTorch."""

__version__ = "0.1.0"
