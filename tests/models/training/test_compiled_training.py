"""Compiled networks are trained as uncompiled ones; failures to compile are reported."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.utils import counters

from models.flow.estimator import ZeroFlowEstimator
from models.networks.collection import Vid2VidModels
from models.ops.compile import CompiledNetwork, FallbackCompiler
from models.ops.dispatch import reference_ops, to_channels_last
from models.training.device_groups import build_parallel_models
from models.training.schedule import compute_epoch_settings
from options import configs
from options.build import distribute_networks
from tests.tiny import street_clip, tiny_networks, tiny_options, tiny_trainer
from util.clip import Clip
from util.distributed import setup_devices

STREET = (
    "--label_nc 5 --gpu_ids cpu --lr 0.001 --max_frames_per_gpu 2 --n_frames_total 4 --n_frames_G 2 --ngf 4 "
    "--n_downsample_G 1 --n_blocks 1 --num_D 1 --n_layers_D 1 --n_frames_D 2"
)
pytestmark = pytest.mark.filterwarnings(  # inside torch
    "ignore:.torch.jit.script_method:DeprecationWarning",
    "ignore:The .grad attribute of a Tensor:UserWarning",
)
TrainingResult = tuple[list[dict[str, float]], Vid2VidModels]
TWO_STEPS = street_clip(5, 16, 24, load=2)


@pytest.fixture(autouse=True)
def _use_float64_and_reset_compiler() -> Iterator[None]:
    torch.compiler.reset()
    counters.clear()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def train(
    flags: str, compiler: FallbackCompiler | None, clips: Iterable[Clip] = (TWO_STEPS,)
) -> TrainingResult:
    """Return the losses of each clip's last step, and the trained networks."""
    options = tiny_options(f"{STREET} {flags}")
    networks = tiny_networks(options)
    for network in networks.named_networks().values():
        network.double()
    trainer = tiny_trainer(options, networks)
    parallel_models = build_parallel_models(
        trainer.device_setup, networks, None, lambda _: ZeroFlowEstimator(), compiler=compiler
    )
    trainer = replace(trainer, parallel_models=parallel_models)
    settings = compute_epoch_settings(1, trainer.config.schedule)
    double_clips = (
        clip.apply(lambda x: x.double() if x.is_floating_point() else x) for clip in clips
    )
    return [trainer.train_clip(clip, settings).losses for clip in double_clips], networks


def assert_same(one: TrainingResult, other: TrainingResult, limit: float = 1e-10) -> None:
    for losses, expected in zip(other[0], one[0], strict=True):
        assert losses == pytest.approx(expected, rel=limit, abs=limit)
    states, expected_states = (
        {name: network.state_dict() for name, network in networks.named_networks().items()}
        for networks in (other[1], one[1])
    )
    assert {name: list(state) for name, state in states.items()} == {
        name: list(state) for name, state in expected_states.items()
    }
    torch.testing.assert_close(states, expected_states, rtol=0, atol=limit)


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
        uncompiled = train(flags, None)
    with torch._dynamo.config.patch(recompile_limit=3):  # of each network, not of all
        assert_same(uncompiled, train(flags, compiler))
    assert not compiler.has_failed and counters["stats"]["unique_graphs"] > 3


def test_compiled_training_matches_eager_with_label_conv_enabled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "models.ops.dispatch.MIN_FEATURE_MAP_SIZE", 0
    )  # as for large images, so that labels are convolved as such
    compiler = FallbackCompiler("aot_eager")
    assert_same(
        train("", None), train("", compiler), limit=1e-8
    )  # Adam amplifies rounding errors of gradients near 0
    assert not compiler.has_failed


def test_no_recompilation_after_the_first_two_sizes() -> None:
    compiler, flags, counts = (
        FallbackCompiler("aot_eager"),
        "--n_scales_temporal 0 --n_blocks 0",
        [],
    )
    clips = [street_clip(5, *size, load=2) for size in ((16, 24), (24, 16), (32, 24))]

    def counted() -> Iterator[Clip]:
        for clip in clips:
            yield clip
            counts.append(counters["stats"]["unique_graphs"])

    compiled = train(flags, compiler, counted())
    assert_same(train(flags, None, clips), compiled, limit=1e-8)
    assert not compiler.has_failed and counts[0] < counts[1] == counts[2]


def run_eagerly(graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
    return make_boxed_func(graph.forward)


def raise_error(graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
    raise RuntimeError("no compiler here\nand more lines")


@pytest.mark.parametrize(
    ("forward_backend", "backward_backend"),
    [(raise_error, run_eagerly), (run_eagerly, raise_error)],
    ids=["forward", "backward"],
)
def test_uncompilable_networks_warn_once_and_train_eagerly(
    forward_backend: Callable, backward_backend: Callable, capfd: pytest.CaptureFixture
) -> None:
    compiler = FallbackCompiler(
        aot_autograd(fw_compiler=forward_backend, bw_compiler=backward_backend)
    )
    compiled = train("", compiler)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and "run uncompiled" in lines[0] and "no compiler here" in lines[0]
    assert_same(train("", None), compiled, limit=0)


def test_compile_failure_within_a_step_keeps_the_step_correct() -> None:
    """Functions that were compiled before keep their compiled backward passes."""
    graphs = []

    def raise_error_later(graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return run_eagerly(graph, inputs) if len(graphs) < 3 else raise_error(graph, inputs)

    compiler = FallbackCompiler(
        aot_autograd(fw_compiler=run_eagerly, bw_compiler=raise_error_later)
    )
    assert_same(train("", None), train("", compiler))
    assert compiler.has_failed and len(graphs) == 3


@pytest.mark.parametrize(
    ("flags", "compiled"), [("", False), ("--compile", True), ("--compile --debug_replay x", False)]
)
def test_compile_flag_selects_the_compiled_networks(flags: str, compiled: bool) -> None:
    options = tiny_options(f"{STREET} {flags} --label_feat --nef 4 --n_downsample_E 1")
    networks = tiny_networks(options)
    (group_models,) = distribute_networks(
        options, networks, ZeroFlowEstimator(), setup_devices(configs.device_config(options))
    ).groups
    replica = group_models.discriminators[0].networks
    at_work = [*group_models.generators[0], replica.netD, *replica.netD_T]
    assert [isinstance(network, CompiledNetwork) for network in at_work] == [compiled] * 3
    assert group_models.encoder is networks.netE


def test_to_channels_last_compiles_as_a_full_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU in half precision, compiled networks convert their inputs."""
    monkeypatch.setattr("models.ops.dispatch.is_cuda_autocast_enabled", lambda device: True)
    program = torch.compile(lambda x: to_channels_last(x, 8) + 1, fullgraph=True, backend="eager")
    assert program(torch.zeros(1, 3, 4, 4)).is_contiguous(memory_format=torch.channels_last)
