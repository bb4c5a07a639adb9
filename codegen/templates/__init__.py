"""Real modules with typed holes; `codegen/cst/fill.py` says how they are filled. The generator reads them, never imports."""
