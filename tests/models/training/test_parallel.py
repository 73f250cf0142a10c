"""Training on several devices equals training on one: losses and weights after 3 steps on a synthetic street.

Tolerances, relative to the largest value: in float64, losses and weights agree to 1e-10 with Adam.
In float32 they agree to 1e-5 with steps proportional to the gradient (`ProportionalOptimizer`), and
losses to 1e-4 with Adam. Adam's first steps are the sign of the gradient, so rounding decides the
direction of a weight whose gradient is near 0: in float32, up to a tenth of all weights then differ
by more than 1e-5. Networks use instance norm. Biases before a norm are left out: the norm cancels
them, so their gradient is rounding error only (`test_biases_before_a_norm_have_no_effect`).
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from data.dataset import ClipDataset
from data.loader import build_dataloader
from data.sampler import plan_epoch
from data.sequences import find_sequences
from data.synthetic import make_toy_data
from models.flow.dis import DISFlowEstimator
from models.networks.collection import Vid2VidModels, build_models, build_optimizers
from models.training.ema import update_ema
from models.training.schedule import compute_epoch_settings
from options import configs
from options.schema import TrainOptions
from options.train import parse_train
from tests.tiny import tiny_forward, tiny_networks, tiny_trainer
from util.clip import Clip
from util.distributed import setup_devices

FLAGS = (
    "--label_nc 35 --norm instance --ngf 4 --ndf 4 --n_downsample_G 2 --n_blocks 2 --n_layers_D 2 --no_vgg "
    "--loadSize 64 --n_scales_temporal 2 --flow_net dis --gpu_ids cpu"
)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("street")
    make_toy_data(
        "street", folder, sequences=3, frames=14, size=(64, 32), seed=0, phases=("train",)
    )
    return folder


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def tolerance(request: pytest.FixtureRequest) -> Iterator[float]:
    """Set the default type of tensors; return the relative tolerance of losses and weights."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield {torch.float32: 1e-5, torch.float64: 1e-10}[request.param]
    torch.set_default_dtype(before)


def build_initialized_networks(options: TrainOptions) -> Vid2VidModels:
    parts = (
        configs.generator_config(options),
        configs.discriminator_config(options),
        configs.temporal_config(options),
    )
    return build_models(*parts, has_face_discriminator=False, has_ema=options.ema is not None)


def convert_to_default_dtype(clip: Clip) -> Clip:
    dtype = torch.get_default_dtype()
    clip = clip.to(torch.device("cpu"))
    return clip.apply(lambda x: x.to(dtype) if x.is_floating_point() else x)


class ProportionalOptimizer(Optimizer):
    """Gradient descent that changes every tensor by at most `lr` times its largest value.

    A common learning rate would leave most tensors unchanged, because their gradients differ by a
    factor of a million.
    """

    def __init__(self, weights: Iterable[nn.Parameter], lr: float = 1e-4) -> None:
        super().__init__(weights, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None and weight.grad.any():
                    weight -= (
                        group["lr"] * weight.abs().max() * weight.grad / weight.grad.abs().max()
                    )


def train_run(
    street: Path,
    flags: str,
    n_batches: int = 1,
    use_adam: bool | None = None,
    build_networks: Callable[[TrainOptions], Vid2VidModels] = tiny_networks,
) -> tuple[list[dict], Vid2VidModels]:
    """Train on some batches.

    Args:
        street: Data root.
        flags: Flags of train.py.
        n_batches: Number of batches.
        use_adam: Adam or `ProportionalOptimizer`; by default Adam in float64 only.
        build_networks: Builds the networks.

    Returns:
        The losses of each batch's last window, and the networks.
    """
    if use_adam is None:
        use_adam = torch.get_default_dtype() == torch.float64
    options = parse_train([*FLAGS.split(), "--dataroot", str(street), *flags.split()])
    device_setup = setup_devices(configs.device_config(options))
    frame_reader = configs.build_frame_reader(options)
    sequences = find_sequences(
        options.dataroot, "train", frame_reader.folder_specs(uses_images=True)
    )
    lengths = [len(sequence) for sequence in sequences]
    torch.manual_seed(0)
    networks = build_networks(options)
    for network in networks.named_networks().values():
        network.to(torch.get_default_dtype())
    optimizers = build_optimizers(networks, configs.optimizer_config(options))
    if not use_adam:
        optimizers = {
            name: ProportionalOptimizer(weights)
            for name, weights in networks.parameters_by_optimizer().items()
        }
    forward = tiny_forward(options, networks, DISFlowEstimator())
    trainer = tiny_trainer(options, networks, forward, optimizers, max(lengths))
    schedule = trainer.config.schedule
    sampling = configs.sampling_config(
        options, device_setup.n_gpus_gen, device_setup.process_group.world_size
    )
    plans = [
        device_setup.process_group.shard(
            plan_epoch(lengths, sampling, options.n_frames_total, epoch)[0]
        )
        for epoch in range(1, 1 + n_batches)
    ]
    batches = build_dataloader(
        ClipDataset(frame_reader, sequences, configs.transform_config(options)),
        plans,
        num_workers=0,
    )
    settings = compute_epoch_settings(2, schedule)
    losses = [
        trainer.train_clip(convert_to_default_dtype(clip), settings).losses for clip in batches
    ]
    return losses, networks


def find_biases_before_norms(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the biases of convolutions before an instance norm, by name."""
    pairs = [
        (f"{name}.{key}.bias", layer, following)
        for name, part in network.named_modules()
        if isinstance(part, nn.Sequential)
        for (key, layer), (_, following) in pairwise(part.named_children())
    ]
    return {
        name: layer.bias
        for name, layer, following in pairs
        if isinstance(following, nn.InstanceNorm2d) and isinstance(layer.bias, nn.Parameter)
    }


def assert_same_losses(one: list[dict], other: list[dict], tolerance: float) -> None:
    for losses, expected in zip(other, one, strict=True):
        assert set(losses) == set(expected)
        for name, value in expected.items():
            assert math.isclose(losses[name], value, rel_tol=tolerance, abs_tol=tolerance / 100), (
                name
            )


def assert_same(
    one: tuple[list[dict], Vid2VidModels], other: tuple[list[dict], Vid2VidModels], tolerance: float
) -> None:
    assert_same_losses(one[0], other[0], tolerance)
    named = one[1].named_networks()
    for name, network in other[1].named_networks().items():
        skipped = find_biases_before_norms(network)
        for (key, weight), expected in zip(
            network.named_parameters(), named[name].parameters(), strict=True
        ):
            if key not in skipped:
                assert (weight - expected).abs().max() < tolerance * expected.abs().max(), (
                    f"{name}.{key}"
                )


def window_flags(frames: int) -> str:
    """Return the flags of a clip with three windows of so many frames, each back-propagated through."""
    return f"--n_frames_total {3 * frames} --max_frames_backpropagate {frames} --niter_step 1"


@pytest.mark.parametrize("frames", [1, 2])
def test_device_groups_match_one_device(street: Path, frames: int, tolerance: float) -> None:
    """One device has the primary weights, two generate `frames` each in turn, one discriminates."""
    one = train_run(street, f"{window_flags(2 * frames)} --max_frames_per_gpu {2 * frames}")
    groups = train_run(
        street,
        f"{window_flags(2 * frames)} --gpu_ids cpu,cpu,cpu,cpu --n_gpus_gen 2 "
        f"--max_frames_per_gpu {frames}",
    )
    assert_same(one, groups, tolerance)


@pytest.mark.parametrize(
    ("frames", "one_device", "several_devices"),
    [
        (
            4,
            "--max_frames_per_gpu 4",
            "--max_frames_per_gpu 2 --gpu_ids cpu,cpu,cpu,cpu --n_gpus_gen 2",
        ),
        (1, "--batchSize 3", "--batchSize 3 --gpu_ids cpu,cpu"),
    ],
)
def test_float32_losses_with_adam_match_one_device(
    street: Path, frames: int, one_device: str, several_devices: str
) -> None:
    one, other = (
        train_run(street, f"{window_flags(frames)} {flags}", use_adam=True)[0]
        for flags in (one_device, several_devices)
    )
    assert_same_losses(one, other, 1e-4)


def test_every_weight_changes_by_more_than_the_tolerance(street: Path) -> None:
    """Otherwise the comparisons would pass without training."""
    _, networks = train_run(street, window_flags(1))
    before = tiny_networks(parse_train(FLAGS.split())).named_networks()
    for name, network in networks.named_networks().items():
        for (key, weight), start in zip(
            network.named_parameters(), before[name].parameters(), strict=True
        ):
            # Three frames have no group of D_T1's scale.
            if key not in find_biases_before_norms(network) and name != "D_T1":
                assert (weight - start).abs().max() > 5e-5 * start.abs().max(), f"{name}.{key}"


def test_biases_before_a_norm_have_no_effect() -> None:
    """Images and scores do not depend on them."""
    networks = tiny_networks(parse_train([*FLAGS.split(), "--fg"]))
    netG, netD = networks.netG[0], networks.netD

    def run_networks() -> list[torch.Tensor]:
        rng = torch.Generator().manual_seed(0)
        condition, previous = (
            torch.randn(1, n, channels, 32, 64, generator=rng) for n, channels in ((3, 35), (2, 3))
        )
        scores = netD(torch.randn(1, 38, 32, 64, generator=rng))
        return [netG(condition, previous, False)[0].image, *(scale[-1] for scale in scores)]

    before = run_networks()
    for network in (netG, netD):
        assert len(find_biases_before_norms(network)) >= 4
        for bias in find_biases_before_norms(network).values():
            bias.data.normal_()
    torch.testing.assert_close(run_networks(), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "gpus", ["cpu,cpu --n_gpus_gen 1", "cpu,cpu,cpu --n_gpus_gen 1", "cpu,cpu"]
)
def test_sharing_few_devices_matches_one_device(street: Path, gpus: str) -> None:
    """No device, or two, for the discriminators only; or all devices run both."""
    frames = 1 if gpus == "cpu,cpu" else 2
    one = train_run(street, f"{window_flags(2)} --max_frames_per_gpu 2")
    assert_same(
        one,
        train_run(street, f"{window_flags(2)} --gpu_ids {gpus} --max_frames_per_gpu {frames}"),
        1e-5,
    )


def test_uneven_batches_match_one_device(street: Path, tolerance: float) -> None:
    """Three clips on two devices."""
    one = train_run(street, f"{window_flags(1)} --batchSize 3")
    assert_same(
        one, train_run(street, f"{window_flags(1)} --batchSize 3 --gpu_ids cpu,cpu"), tolerance
    )


def test_all_network_variants_match_one_device(street: Path) -> None:
    """Two spatial scales, foreground, instances, R1 penalty, clipped gradients, EMA, spectral norm."""
    flags = (
        f"{window_flags(2)} --n_scales_spatial 2 --n_blocks_local 1 --fg --use_instance --r1 0.1 --grad_clip 0.5 "
        "--ema 2 --spectral_norm"
    )
    one = train_run(street, f"{flags} --max_frames_per_gpu 2")
    assert_same(one, train_run(street, f"{flags} --gpu_ids cpu,cpu,cpu --n_gpus_gen 2"), 1e-5)


def test_ema_weight_of_a_step_halves_after_its_half_life() -> None:
    networks = build_initialized_networks(parse_train([*FLAGS.split(), "--ema", "2"]))
    weights, averaged = (
        [*network.parameters()] for network in (networks.netG, networks.netG_ema or ())
    )
    before = [weight.clone() for weight in weights]
    with torch.no_grad():
        for weight in weights:
            weight.add_(1)
    update_ema(networks, half_life=2)
    update_ema(networks, half_life=2)
    for average, start in zip(averaged, before, strict=True):
        torch.testing.assert_close(average, start + 0.5)


def test_activation_checkpointing_does_not_change_results(street: Path) -> None:
    flags = f"{window_flags(2)} --max_frames_per_gpu 2 --n_scales_spatial 2 --n_blocks_local 1 --fg"
    one, again = train_run(street, flags), train_run(street, f"{flags} --checkpoint_activations")
    assert one[0] == again[0]
    for name, network in one[1].named_networks().items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, again[1].named_networks()[name].state_dict()[key]), (
                f"{name}.{key}"
            )


def test_bfloat16_losses_are_near_float32(street: Path) -> None:
    exact, half = (
        train_run(
            street,
            f"--n_frames_total 3 --max_frames_per_gpu 3 --amp {amp}",
            20,
            use_adam=True,
            build_networks=build_initialized_networks,
        )[0]
        for amp in ("off", "bf16")
    )
    for name in (
        "G_GAN",
        "G_GAN_Feat",
        "D_real",
        "D_fake",
        "F_Flow",
        "F_Warp",
        "G_Warp",
        "G_T_GAN0",
        "D_T_real0",
    ):
        a, b = (sum(losses[name] for losses in run) / len(run) for run in (exact, half))
        assert a != b
        assert abs(a - b) < 0.02 * abs(a), name
