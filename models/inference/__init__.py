"""Inference: synthesizer, first frames, keyframes, batching, export."""
