"""Synthetic videos with exactly known labels, landmarks and flow."""

from data.synthetic.write import make_toy_data

__all__ = ["make_toy_data"]
