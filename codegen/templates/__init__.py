"""Real modules with typed holes (`codegen/cst/fill.py` says how they are filled); the generator never imports them."""
