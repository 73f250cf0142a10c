"""scripts/precompute_flow.py on a synthetic street."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.synthetic import make_toy_data
from scripts.precompute_flow import main
from util.errors import UserError


def test_command_line_fills_the_cache(tmp_path: Path) -> None:
    make_toy_data("street", tmp_path / "data", sequences=1, frames=5, size=(64, 32))
    flags = f"--dataroot {tmp_path}/data --label_nc 35 --flow_net dis --gpu_ids -1".split()
    with pytest.raises(UserError, match="--flow_cache is not given"):
        main(flags)
    main([*flags, "--flow_cache", str(tmp_path / "cache")])
    n_neighbors, n_three_frames_apart = 4, 2
    files = list((tmp_path / "cache").rglob("*.flow"))
    assert len(files) == n_neighbors + n_three_frames_apart
