"""Losses of generators and discriminators, and the frame groups of the temporal discriminators."""
