import warnings

import pytest
import torch

from models.inference.export import (
    build_exportable_generators,
    compute_onnx_error,
    export_onnx,
    export_program,
    make_example_inputs,
    run_torch,
)
from models.inference.synthesis import synthesize
from models.inference.synthesizer import Synthesizer
from options import configs
from tests.tiny import street_clip, tiny_networks, tiny_options
from util.errors import UserError

SIZE = 24, 16


def painter(flags=""):
    options = tiny_options(f"--label_nc 5 --n_scales_spatial 2 --no_first_img {flags}")
    networks = tiny_networks(options).netG
    return Synthesizer(networks, configs.synthesis_config(options))


def test_consecutive_exported_steps_match_synthesis():
    own, clip = painter(), street_clip(6, *reversed(SIZE))
    expected = [
        made
        for _, made in synthesize(
            own.netG,
            [clip.slice_frames(t, t + 1) for t in range(6)],
            own.get_first_images,
            own.config,
            torch.device("cpu"),
        )
    ]
    steps, encoded = (
        build_exportable_generators(own),
        own.config.condition_config.encode_dense(clip),
    )
    conditions = [encoded[:, t : t + 3] for t in range(4)]
    histories = tuple(torch.zeros_like(past) for past in make_example_inputs(own, 5, SIZE)[1:])
    with torch.no_grad():
        image, *histories = steps["_first"](conditions[0], *histories)
    torch.testing.assert_close(image, expected[0], rtol=0, atol=1e-5)
    rest = run_torch(steps[""], conditions[1:], tuple(histories))
    for one, other in zip(rest, expected[1:], strict=True):
        torch.testing.assert_close(
            one, other, rtol=0, atol=2e-5
        )  # one convolves maps, the other looks vectors up


@pytest.mark.parametrize(("kind", "suffix"), [("batch", ""), ("instance", "_first")])
def test_onnxruntime_matches_pytorch_per_frame(tmp_path, kind, suffix):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    own = painter(f"--norm {kind}")
    example, module = make_example_inputs(own, 5, SIZE), build_exportable_generators(own)[suffix]
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", r".isinstance\(treespec", FutureWarning
        )  # torch's, of itself
        export_onnx(module, example, tmp_path / "step.onnx")
    assert compute_onnx_error(module, tmp_path / "step.onnx", own, example) < 1 / 255


def test_an_exported_program_computes_the_same(tmp_path):
    own = painter()
    example = make_example_inputs(own, 5, SIZE)
    export_program(build_exportable_generators(own)[""], example, tmp_path / "step.pt2")
    loaded = torch.export.load(tmp_path / "step.pt2").module()
    for one, other in zip(
        loaded(*example), build_exportable_generators(own)[""](*example), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_sizes_that_would_be_padded_are_refused():
    with pytest.raises(UserError, match=r"--size 25x16.*multiples of 8"):
        make_example_inputs(painter(), 5, (25, 16))
