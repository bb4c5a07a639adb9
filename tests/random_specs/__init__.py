"""Random well-formed specs: each is refused with position and cure, or does everything and equals its meaning."""
