"""Plans of models of images and text."""
