"""The image pair that an evaluation compares."""

import numpy as np

RealFakePair = tuple[np.ndarray, np.ndarray]  # (real, fake), both (H, W, 3) uint8 RGB of one size
