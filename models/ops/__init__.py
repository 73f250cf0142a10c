"""Faster operations, each of which computes what a layer of plain PyTorch computes, up to rounding.

`models.ops.install` puts them into networks by one call. `models.ops.dispatch` decides where they are worthwhile.
"""
