"""Plan to artifacts: one module for each kind of output file. All pure, and nothing is decided here."""
