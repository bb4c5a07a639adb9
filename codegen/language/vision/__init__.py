"""The language of models of images and text: one spec file in, one checked spec out."""
