"""Marks for tests of Triton kernels.

They run on a GPU, or with TRITON_INTERPRET=1 in Triton's interpreter on a CPU. That of Triton 3.6 needs numpy < 2.4.
"""

import os

import pytest
import torch

from models.ops.label_conv_triton import triton

TRITON_DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
IS_TRITON_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

needs_triton = pytest.mark.skipif(
    triton is None or not (TRITON_DEVICE.type == "cuda" or IS_TRITON_INTERPRETED),
    reason="needs Triton and a CUDA device, or TRITON_INTERPRET=1",
)
needs_gpu = pytest.mark.skipif(
    triton is None or TRITON_DEVICE.type != "cuda", reason="needs Triton and a CUDA device"
)
