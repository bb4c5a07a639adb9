"""A generator of model architectures: YAML specs become committed, readable PyTorch."""
