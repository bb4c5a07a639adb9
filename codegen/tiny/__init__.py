"""Strong tiny configs: what the tests of a model run on."""
