"""One run of the generator: what is read, built, compared and told."""
