"""Compiled synthesis generates the frames of uncompiled synthesis; failures to compile are reported."""

import shutil
from dataclasses import replace

import pytest
import torch
from torch._dynamo.utils import counters

from models.inference import first_frame
from models.inference.batched import synthesize_batched
from models.inference.synthesizer import Synthesizer
from models.ops.compile import CompiledFrameGenerator
from models.ops.dispatch import reference_ops
from options import configs
from options.test import parse_test
from tests.tiny import street_clip, tiny_networks, tiny_options

CPU = torch.device("cpu")
FIRST = "--label_nc 5 --no_first_img"


@pytest.fixture(autouse=True)
def _reset_compiler():
    torch.compiler.reset()
    counters.clear()


def generate_uncompiled_and_compiled(flags, generate, sizes=((16, 24),)):
    """Return the images of 4 frames at each size: by the uncompiled function and by this one."""
    options = tiny_options(flags)
    networks, config = tiny_networks(options).netG, configs.synthesis_config(options)
    first = first_frame.make_zero_images if options.no_first_img else first_frame.get_real_images
    results = ([], [])
    for size in sizes:
        clip = street_clip(options.n_frames_G + 3, *size)
        frames = [clip.slice_frames(t, t + 1) for t in range(clip.condition.shape[1])]
        configurations = (config, replace(config, generate_frame=generate))
        for images, synthesis in zip(results, configurations, strict=True):
            synthesizer = Synthesizer(networks, synthesis, first)
            images += [image for _, image in synthesizer.synthesize(frames)]
    return [torch.stack(images) if len(sizes) == 1 else images for images in results]


@pytest.mark.parametrize(
    "flags",
    [
        FIRST,
        "--label_nc 5 --use_instance --fg --fg_labels 1,3",
        "--label_nc 5 --no_flow --norm instance",
    ],
)
def test_frames_match_optimized_ops(flags):
    generate = CompiledFrameGenerator("eager")
    uncompiled, compiled = generate_uncompiled_and_compiled(flags, generate)
    torch.testing.assert_close(compiled, uncompiled, rtol=0, atol=1e-5)
    assert (
        not generate.has_failed and counters["stats"]["unique_graphs"] == 1
    )  # none for the first frame, without warping


@pytest.mark.parametrize(
    "flags", [FIRST, "--label_nc 5 --n_scales_spatial 2", "--label_nc 5 --amp bf16"]
)
def test_frames_are_bitwise_equal_to_reference_ops(flags):
    generate = CompiledFrameGenerator("eager")
    with reference_ops():
        uncompiled, compiled = generate_uncompiled_and_compiled(flags, generate)
    torch.testing.assert_close(compiled, uncompiled, rtol=0, atol=0)
    assert not generate.has_failed and counters["stats"]["unique_graphs"] == 1


def test_label_maps_stay_sparse_in_compiled_networks(monkeypatch):
    """One-hot maps of the finest scale would be the largest tensors of a frame."""
    monkeypatch.setattr("models.ops.dispatch.MIN_FEATURE_MAP_SIZE", 0)  # as for large images
    called = []

    def recording_backend(graph, inputs):
        called.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    generate_uncompiled_and_compiled("--label_nc 5", CompiledFrameGenerator(recording_backend))
    assert sum("label_sum" in name for name in called) == 1 and not any(
        "one_hot" in name for name in called
    )


def test_batched_sequences_compile_once_per_batch_size():
    options, generate = tiny_options("--label_nc 5"), CompiledFrameGenerator("eager")
    networks, config = tiny_networks(options).netG, configs.synthesis_config(options)
    clip = street_clip(5, 16, 24, batch=3)
    sequences = [
        [clip.slice_batch(b, b + 1).slice_frames(t, t + 1) for t in range(3 + b // 2 * 2)]
        for b in range(3)
    ]  # 3, 3, 5
    uncompiled, compiled = (
        [
            image
            for _, _, image in synthesize_batched(
                Synthesizer(
                    networks,
                    replace(config, generate_frame=frame_generator),
                    first_frame.get_real_images,
                ),
                sequences,
            )
        ]
        for frame_generator in (config.generate_frame, generate)
    )
    for one, other in zip(uncompiled, compiled, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-5)
    assert not generate.has_failed and counters["stats"]["unique_graphs"] == 2


def failing_backend(graph, inputs):
    raise RuntimeError("no compiler here\nand more lines")


def test_missing_compiler_warns_once_and_runs_eagerly(capfd):
    generate = CompiledFrameGenerator(failing_backend)
    uncompiled, images = generate_uncompiled_and_compiled("--label_nc 5", generate)
    torch.testing.assert_close(images, uncompiled, rtol=0, atol=0)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and "run uncompiled" in lines[0] and "no compiler here" in lines[0]


def test_sizes_beyond_the_recompile_limit_run_eagerly(capfd):
    generate = CompiledFrameGenerator("eager")
    with torch._dynamo.config.patch(recompile_limit=1):
        uncompiled, images = generate_uncompiled_and_compiled(
            "--label_nc 5", generate, sizes=[(16, 24), (16, 32)]
        )
    for one, other in zip(images, uncompiled, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    assert generate.has_failed and len(capfd.readouterr().err.splitlines()) == 1


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script_method:DeprecationWarning"
)  # inside torch._inductor
@pytest.mark.skipif(shutil.which("g++") is None, reason="a compiler is needed")
def test_frames_of_inductor_compiled_networks(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    generate = CompiledFrameGenerator()
    with torch._inductor.config.patch(compile_threads=1):
        uncompiled, compiled = generate_uncompiled_and_compiled(
            f"{FIRST} --ngf 4 --n_blocks 0 --n_downsample_G 1 --n_frames_G 2", generate
        )
    torch.testing.assert_close(compiled, uncompiled, rtol=0, atol=1e-4)
    assert not generate.has_failed and any(tmp_path.rglob("*.so"))


def test_compile_flag_is_off_by_default():
    off, on = (
        configs.synthesis_config(parse_test(["--no_first_img", *flags])).generate_frame
        for flags in ([], ["--compile"])
    )
    assert not isinstance(off, CompiledFrameGenerator) and on == CompiledFrameGenerator()
