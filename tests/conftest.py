"""For every test: one thread, since pytest-xdist's workers share the cores, and sums whose order never changes."""

import os

os.environ["OMP_NUM_THREADS"] = (
    "1"  # before torch is imported, and for the programs that tests start
)

import cv2  # noqa: E402
import hypothesis  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)
cv2.setNumThreads(1)
hypothesis.settings.register_profile(
    "steady", deadline=None, derandomize=True
)  # the machine may be busy
hypothesis.settings.load_profile("steady")
