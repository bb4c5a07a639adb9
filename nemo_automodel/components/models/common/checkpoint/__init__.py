"""Between Hugging Face checkpoints and models in memory: rules, the adapter that runs them, transformers' loader."""
