"""Drafts of specs of images and text."""
