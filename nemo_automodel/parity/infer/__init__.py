"""`python -m nemo_automodel.parity.infer PATH`: the spec of a model, found by trial beside transformers' class of it.

A draft (codegen/new) is generated and run beside the reference, as the proof would; where it differs first, other
things that the language can say are tried there, until nothing differs on any config that was varied.
"""
