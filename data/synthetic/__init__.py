"""Small made-up videos with known answers: see `make_toy_data`."""

from data.synthetic.write import make_toy_data

__all__ = ["make_toy_data"]
