"""Images: pixel normalization, conversion of tensors to RGB, flow colors, line charts."""
