"""Images: normalization, visualization, flow colors, plots."""
