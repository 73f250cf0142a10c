"""Settings of all tests: one thread, because pytest-xdist's workers share the cores, and for a fixed order of sums."""

import os

# Set before torch is imported; programs that tests start inherit it.
os.environ["OMP_NUM_THREADS"] = "1"

import cv2  # noqa: E402
import hypothesis  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)
cv2.setNumThreads(1)
# No deadline, because the machine may be busy.
hypothesis.settings.register_profile("deterministic", deadline=None, derandomize=True)
hypothesis.settings.load_profile("deterministic")
