"""Tests of exported steps against synthesis, torch.export and onnxruntime."""

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
from models.inference.synthesizer import Synthesizer
from options import configs
from tests.tiny import split_frames, street_clip, tiny_networks, tiny_options
from util.errors import UserError

WIDTH, HEIGHT = SIZE = 24, 16


def make_synthesizer(flags=""):
    options = tiny_options(f"--label_nc 5 --n_scales_spatial 2 --no_first_img {flags}")
    return Synthesizer(tiny_networks(options).netG, configs.synthesis_config(options))


def test_consecutive_exported_steps_match_synthesis():
    synthesizer, clip = make_synthesizer(), street_clip(6, HEIGHT, WIDTH)
    expected = [image for _, image in synthesizer.synthesize(split_frames(clip))]
    steps = build_exportable_generators(synthesizer)
    encoded = synthesizer.config.condition_config.encode_dense(clip)
    conditions = [encoded[:, t : t + 3] for t in range(4)]
    _, *example_histories = make_example_inputs(synthesizer, 5, SIZE)
    zeros = [torch.zeros_like(history) for history in example_histories]
    with torch.no_grad():
        image, *histories = steps["_first"](conditions[0], *zeros)
    torch.testing.assert_close(image, expected[0], rtol=0, atol=1e-5)
    images = run_torch(steps[""], conditions[1:], tuple(histories))
    for image, expected_image in zip(images, expected[1:], strict=True):
        # The exported step convolves one-hot maps, synthesis sums label vectors.
        torch.testing.assert_close(image, expected_image, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("norm", "suffix"), [("batch", ""), ("instance", "_first")])
def test_onnxruntime_matches_pytorch_per_frame(tmp_path, norm, suffix):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    synthesizer = make_synthesizer(f"--norm {norm}")
    example = make_example_inputs(synthesizer, 5, SIZE)
    module = build_exportable_generators(synthesizer)[suffix]
    with warnings.catch_warnings():
        # torch warns about its own code
        warnings.filterwarnings("ignore", r".isinstance\(treespec", FutureWarning)
        export_onnx(module, example, tmp_path / "step.onnx")
    assert compute_onnx_error(module, tmp_path / "step.onnx", synthesizer, example) < 1 / 255


def test_an_exported_program_computes_the_same(tmp_path):
    synthesizer = make_synthesizer()
    example = make_example_inputs(synthesizer, 5, SIZE)
    module = build_exportable_generators(synthesizer)[""]
    export_program(module, example, tmp_path / "step.pt2")
    loaded = torch.export.load(tmp_path / "step.pt2").module()
    for output, expected in zip(loaded(*example), module(*example), strict=True):
        torch.testing.assert_close(output, expected)


def test_sizes_that_would_be_padded_are_refused():
    with pytest.raises(UserError, match=r"--size 25x16.*multiples of 8"):
        make_example_inputs(make_synthesizer(), 5, (25, 16))
