"""Reference models in plain PyTorch, for architectures that transformers lacks. They share no code with the library."""
