"""A small LibCST vocabulary that knows nothing of models: fill templates, choose imports, format statements."""
