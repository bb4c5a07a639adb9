"""`codegen init`: what a repository needs before its first `codegen apply`."""
