"""What vision-language models are composed of, besides a text model and a vision tower."""
