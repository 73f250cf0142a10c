"""Command-line flags, their checks, and the configurations that are made from them."""
