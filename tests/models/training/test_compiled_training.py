"""Compiled training equals eager training; if compilation fails, a warning is printed."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.utils import counters

from models.flow.estimator import ZeroFlowEstimator
from models.networks.collection import Vid2VidModels
from models.ops.compile import CompiledNetwork, FallbackCompiler
from models.ops.dispatch import reference_ops, to_channels_last
from models.training.forward import Vid2VidForward
from models.training.schedule import compute_epoch_settings
from options import configs
from options.build import build_forward
from tests.tiny import (
    copy_state_dicts,
    street_clip,
    tiny_forward,
    tiny_networks,
    tiny_options,
    tiny_trainer,
)
from util.clip import Clip
from util.distributed import setup_devices

STREET = (
    "--label_nc 5 --gpu_ids cpu --lr 0.001 --max_frames_per_gpu 2 --n_frames_total 4 --n_frames_G 2 --ngf 4 "
    "--n_downsample_G 1 --n_blocks 1 --num_D 1 --n_layers_D 1 --n_frames_D 2"
)
pytestmark = pytest.mark.filterwarnings(  # both come from inside torch
    "ignore:.torch.jit.script_method:DeprecationWarning",
    "ignore:The .grad attribute of a Tensor:UserWarning",
)
TrainingResult = tuple[list[dict[str, float]], Vid2VidModels]
TWO_STEPS = street_clip(5, 16, 24, load=2)


@pytest.fixture(autouse=True)
def float64_and_empty_compile_cache() -> Iterator[None]:
    torch.compiler.reset()
    counters.clear()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def train_clips(
    flags: str, compiler: FallbackCompiler | None, clips: Iterable[Clip] = (TWO_STEPS,)
) -> TrainingResult:
    """Train on clips; return the losses of each clip's last step, and the networks."""
    options = tiny_options(f"{STREET} {flags}")
    networks = tiny_networks(options)
    for network in networks.named_networks().values():
        network.double()
    forward = tiny_forward(options, networks, compiler=compiler)
    trainer = tiny_trainer(options, networks, forward)
    settings = compute_epoch_settings(1, trainer.config.schedule)
    losses = []
    for clip in clips:
        double_clip = clip.apply(lambda x: x.double() if x.is_floating_point() else x)
        losses.append(trainer.train_clip(double_clip, settings).losses)
    return losses, networks


def assert_same(expected: TrainingResult, actual: TrainingResult, tolerance: float = 1e-10) -> None:
    for losses, expected_losses in zip(actual[0], expected[0], strict=True):
        assert losses == pytest.approx(expected_losses, rel=tolerance, abs=tolerance)
    states, expected_states = (copy_state_dicts(result[1]) for result in (actual, expected))
    assert {name: list(state) for name, state in states.items()} == {
        name: list(state) for name, state in expected_states.items()
    }
    torch.testing.assert_close(states, expected_states, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "flags",
    [
        "--no_first_img --r1 1 --ema 9",
        "--gpu_ids cpu,cpu --norm instance --use_instance",
        "--spectral_norm --n_scales_temporal 0",
    ],
)
def test_losses_and_weights_match_reference_ops(flags: str) -> None:
    compiler = FallbackCompiler("aot_eager")
    with reference_ops():
        eager = train_clips(flags, None)
    with torch._dynamo.config.patch(recompile_limit=3):  # holds for each network
        assert_same(eager, train_clips(flags, compiler))
    assert not compiler.has_failed and counters["stats"]["unique_graphs"] > 3


def test_compiled_training_matches_eager_with_label_conv_enabled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # By default, only larger networks and images use the label convolution.
    monkeypatch.setattr("models.ops.dispatch.MIN_FEATURE_MAP_SIZE", 0)
    compiler = FallbackCompiler("aot_eager")
    # Adam amplifies rounding errors of gradients near 0.
    assert_same(train_clips("", None), train_clips("", compiler), tolerance=1e-8)
    assert not compiler.has_failed


def test_no_recompilation_after_the_first_two_sizes() -> None:
    compiler = FallbackCompiler("aot_eager")
    flags = "--n_scales_temporal 0 --n_blocks 0"
    n_graphs = []
    clips = [street_clip(5, *size, load=2) for size in ((16, 24), (24, 16), (32, 24))]

    def iter_clips_and_count_graphs() -> Iterator[Clip]:
        for clip in clips:
            yield clip
            n_graphs.append(counters["stats"]["unique_graphs"])

    compiled = train_clips(flags, compiler, iter_clips_and_count_graphs())
    assert_same(train_clips(flags, None, clips), compiled, tolerance=1e-8)
    assert not compiler.has_failed
    assert n_graphs[0] < n_graphs[1] == n_graphs[2]


def compile_boxed(graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
    return make_boxed_func(graph.forward)


def fail_to_compile(graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
    raise RuntimeError("no compiler\nand more lines")


@pytest.mark.parametrize(
    ("fw_compiler", "bw_compiler"),
    [(fail_to_compile, compile_boxed), (compile_boxed, fail_to_compile)],
    ids=["forward", "backward"],
)
def test_uncompilable_networks_warn_once_and_train_eagerly(
    fw_compiler: Callable, bw_compiler: Callable, capfd: pytest.CaptureFixture
) -> None:
    backend = aot_autograd(fw_compiler=fw_compiler, bw_compiler=bw_compiler)
    result = train_clips("", FallbackCompiler(backend))
    (warning,) = capfd.readouterr().err.splitlines()
    assert "run uncompiled" in warning and "no compiler" in warning
    assert_same(train_clips("", None), result, tolerance=0)


def test_compile_failure_within_a_step_keeps_the_step_correct() -> None:
    """Networks whose forward pass was compiled before the failure keep their compiled backward pass."""
    graphs = []

    def fail_at_third_graph(graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        graphs.append(graph)
        compile_graph = compile_boxed if len(graphs) < 3 else fail_to_compile
        return compile_graph(graph, inputs)

    backend = aot_autograd(fw_compiler=compile_boxed, bw_compiler=fail_at_third_graph)
    compiler = FallbackCompiler(backend)
    assert_same(train_clips("", None), train_clips("", compiler))
    assert compiler.has_failed and len(graphs) == 3


@pytest.mark.parametrize(
    ("flags", "is_compiled"),
    [("", False), ("--compile", True), ("--compile --debug_replay x", False)],
)
def test_compile_flag_selects_the_compiled_networks(flags: str, is_compiled: bool) -> None:
    options = tiny_options(f"{STREET} {flags} --label_feat --nef 4 --n_downsample_E 1")
    networks = tiny_networks(options)
    device_setup = setup_devices(configs.device_config(options))
    parallel = build_forward(
        options, networks, ZeroFlowEstimator(), lambda condition: np.zeros(0), device_setup
    )
    (forward,) = parallel.forwards
    assert isinstance(forward, Vid2VidForward)
    ((generators,),) = forward.rollout.args  # type: ignore[attr-defined]
    ((_, losses),) = forward.loss_functions.replicas  # type: ignore[attr-defined]
    replicas = [*generators, losses.netD, *losses.netD_T]
    assert [isinstance(network, CompiledNetwork) for network in replicas] == [is_compiled] * 3
    assert forward.netE is networks.netE


def test_to_channels_last_compiles_as_a_full_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layout of images in half precision on a GPU depends on it."""
    monkeypatch.setattr("models.ops.dispatch.is_cuda_autocast_enabled", lambda device: True)
    compiled = torch.compile(lambda x: to_channels_last(x, 8) + 1, fullgraph=True, backend="eager")
    assert compiled(torch.zeros(1, 3, 4, 4)).is_contiguous(memory_format=torch.channels_last)
