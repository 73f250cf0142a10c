"""Resize, crop and flip: planned once per clip as a value, applied to every map alike (SPEC 3)."""
