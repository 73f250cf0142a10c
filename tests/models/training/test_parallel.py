"""The same training, however its work is shared: losses and weights after 3 steps of the toy street, instance norm.

What holds, relative to the largest: in float64 losses and weights to 1e-10 with Adam; in float32 to 1e-5 with steps in
proportion to the gradient (`Proportional`), and losses to 1e-4 with Adam. Adam's first steps are the sign of the
gradient: a weight whose gradient is near 0 goes either way by rounding, so that in float32 up to a tenth of all weights
end more than 1e-5 apart. One kind of weight has a gradient of rounding alone, whatever the numbers' type, and is
left out: biases before an instance norm, which takes them away again (`test_biases_before_a_norm_have_no_effect`).
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
def limit(request: pytest.FixtureRequest) -> Iterator[float]:
    """What losses and weights may differ by, relative to the largest, in numbers of the type that they then have."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield {torch.float32: 1e-5, torch.float64: 1e-10}[request.param]
    torch.set_default_dtype(before)


def fresh_networks(options: TrainOptions) -> Vid2VidModels:
    parts = (
        configs.generator_config(options),
        configs.discriminator_config(options),
        configs.temporal_config(options),
    )
    return build_models(*parts, has_face_discriminator=False, has_ema=options.ema is not None)


def widest(clip: Clip) -> Clip:
    numbers = clip.to(torch.device("cpu"))
    return numbers.apply(lambda x: x.to(torch.get_default_dtype()) if x.is_floating_point() else x)


class Proportional(Optimizer):
    """Steps of gradient descent that move every tensor by as much: `lr` of its largest number, where its gradient is
    largest. (One rate for all would leave most where they are: their gradients differ by a factor of a million.)"""

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


def trained(
    street: Path,
    flags: str,
    clips: int = 1,
    adam: bool | None = None,
    draw: Callable[[TrainOptions], Vid2VidModels] = tiny_networks,
) -> tuple[list[dict], Vid2VidModels]:
    """Losses of the last window of so many batches, and the networks after them. adam: else `Proportional`; by default
    Adam in float64."""
    options = parse_train([*FLAGS.split(), "--dataroot", str(street), *flags.split()])
    placement = setup_devices(configs.device_config(options))
    domain = configs.build_frame_reader(options)
    sequences = find_sequences(options.dataroot, "train", domain.folder_specs(uses_images=True))
    lengths = [len(sequence) for sequence in sequences]
    torch.manual_seed(0)
    networks = draw(options)
    for network in networks.named_networks().values():
        network.to(torch.get_default_dtype())
    optimizers = build_optimizers(networks, configs.optimizer_config(options))
    if not (torch.get_default_dtype() == torch.float64 if adam is None else adam):
        optimizers = {
            name: Proportional(weights)
            for name, weights in networks.parameters_by_optimizer().items()
        }
    forward = tiny_forward(options, networks, DISFlowEstimator())
    trainer = tiny_trainer(options, networks, forward, optimizers, max(lengths))
    schedule = trainer.config.schedule
    sampling = configs.sampling_config(
        options, placement.n_gpus_gen, placement.process_group.world_size
    )
    plans = [
        placement.process_group.shard(
            plan_epoch(lengths, sampling, options.n_frames_total, epoch)[0]
        )
        for epoch in range(1, 1 + clips)
    ]
    batches = build_dataloader(
        ClipDataset(domain, sequences, configs.transform_config(options)), plans, num_workers=0
    )
    return [
        trainer.train_clip(widest(clip), compute_epoch_settings(2, schedule)).losses
        for clip in batches
    ], networks


def idle_biases(network: nn.Module) -> dict[str, nn.Parameter]:
    """Those of convolutions before an instance norm, by name."""
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


def assert_same_losses(one: list[dict], other: list[dict], limit: float) -> None:
    for losses, expected in zip(other, one, strict=True):
        assert set(losses) == set(expected)
        for name, value in expected.items():
            assert math.isclose(losses[name], value, rel_tol=limit, abs_tol=limit / 100), name


def assert_same(
    one: tuple[list[dict], Vid2VidModels], other: tuple[list[dict], Vid2VidModels], limit: float
) -> None:
    assert_same_losses(one[0], other[0], limit)
    named = one[1].named_networks()
    for name, network in other[1].named_networks().items():
        idle = idle_biases(network)
        for (key, weight), expected in zip(
            network.named_parameters(), named[name].parameters(), strict=True
        ):
            if key not in idle:
                assert (weight - expected).abs().max() < limit * expected.abs().max(), (
                    f"{name}.{key}"
                )


def shared(frames: int) -> str:
    """A clip of three windows of so many frames; through each a gradient passes back."""
    return f"--n_frames_total {3 * frames} --max_frames_backpropagate {frames} --niter_step 1"


@pytest.mark.parametrize("frames", [1, 2])
def test_device_groups_match_one_device(street: Path, frames: int, limit: float) -> None:
    """One holds the weights, two generate `frames` each in turn, one discriminates."""
    one = trained(street, f"{shared(2 * frames)} --max_frames_per_gpu {2 * frames}")
    groups = trained(
        street,
        f"{shared(2 * frames)} --gpu_ids cpu,cpu,cpu,cpu --n_gpus_gen 2 "
        f"--max_frames_per_gpu {frames}",
    )
    assert_same(one, groups, limit)


@pytest.mark.parametrize(
    ("frames", "alone", "together"),
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
    street: Path, frames: int, alone: str, together: str
) -> None:
    one, other = (
        trained(street, f"{shared(frames)} {flags}", adam=True)[0] for flags in (alone, together)
    )
    assert_same_losses(one, other, 1e-4)


def test_every_weight_changes_by_more_than_the_tolerance(street: Path) -> None:
    """Or else the comparisons would show nothing."""
    _, networks = trained(street, shared(1))
    before = tiny_networks(parse_train(FLAGS.split())).named_networks()
    for name, network in networks.named_networks().items():
        for (key, weight), start in zip(
            network.named_parameters(), before[name].parameters(), strict=True
        ):
            if (
                key not in idle_biases(network) and name != "D_T1"
            ):  # three frames have no group of that scale
                assert (weight - start).abs().max() > 5e-5 * start.abs().max(), f"{name}.{key}"


def test_biases_before_a_norm_have_no_effect() -> None:
    """Whatever they are, images and scores stay."""
    networks = tiny_networks(parse_train([*FLAGS.split(), "--fg"]))
    painter, judge = networks.netG[0], networks.netD

    def seen() -> list[torch.Tensor]:
        dice = torch.Generator().manual_seed(0)
        condition, previous = (
            torch.randn(1, n, channels, 32, 64, generator=dice) for n, channels in ((3, 35), (2, 3))
        )
        scores = judge(torch.randn(1, 38, 32, 64, generator=dice))
        return [painter(condition, previous, False)[0].image, *(scale[-1] for scale in scores)]

    before = seen()
    for network in (painter, judge):
        assert len(idle_biases(network)) >= 4
        for bias in idle_biases(network).values():
            bias.data.normal_()
    torch.testing.assert_close(seen(), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "gpus", ["cpu,cpu --n_gpus_gen 1", "cpu,cpu,cpu --n_gpus_gen 1", "cpu,cpu"]
)
def test_sharing_few_devices_matches_one_device(street: Path, gpus: str) -> None:
    """None left for the discriminators, two of them, all do both by frames."""
    frames = 1 if gpus == "cpu,cpu" else 2
    one = trained(street, f"{shared(2)} --max_frames_per_gpu 2")
    assert_same(
        one, trained(street, f"{shared(2)} --gpu_ids {gpus} --max_frames_per_gpu {frames}"), 1e-5
    )


def test_uneven_batches_match_one_device(street: Path, limit: float) -> None:
    """Three clips over two devices, and no dummies."""
    one = trained(street, f"{shared(1)} --batchSize 3")
    assert_same(one, trained(street, f"{shared(1)} --batchSize 3 --gpu_ids cpu,cpu"), limit)


def test_all_network_variants_match_one_device(street: Path) -> None:
    """A refining generator, foreground, instances; penalty and clipped gradients; an average of the generator."""
    flags = (
        f"{shared(2)} --n_scales_spatial 2 --n_blocks_local 1 --fg --use_instance --r1 0.1 --grad_clip 0.5 "
        "--ema 2 --spectral_norm"
    )
    one = trained(street, f"{flags} --max_frames_per_gpu 2")
    assert_same(one, trained(street, f"{flags} --gpu_ids cpu,cpu,cpu --n_gpus_gen 2"), 1e-5)


def test_ema_weight_of_a_step_halves_after_its_half_life() -> None:
    networks = fresh_networks(parse_train([*FLAGS.split(), "--ema", "2"]))
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
    flags = f"{shared(2)} --max_frames_per_gpu 2 --n_scales_spatial 2 --n_blocks_local 1 --fg"
    one, again = trained(street, flags), trained(street, f"{flags} --checkpoint_activations")
    assert one[0] == again[0]
    for name, network in one[1].named_networks().items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, again[1].named_networks()[name].state_dict()[key]), (
                f"{name}.{key}"
            )


def test_bfloat16_losses_are_near_float32(street: Path) -> None:
    exact, half = (
        trained(
            street,
            f"--n_frames_total 3 --max_frames_per_gpu 3 --amp {amp}",
            20,
            adam=True,
            draw=fresh_networks,
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
        assert a != b and abs(a - b) < 0.02 * abs(a), name
