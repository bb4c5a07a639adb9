"""Specs of images and text that nobody has published: what a spec says, computed once more from its words."""
