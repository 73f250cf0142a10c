"""Processes and threads: random state, signals, prefetching."""
