"""Rollouts: training windows and synthesis generate the same images, and gradients stop where they should."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from models.inference import first_frame
from models.inference.synthesizer import SynthesisConfig, Synthesizer
from models.networks.blocks import build_pyramid, use_per_sample_stats
from models.networks.generators import FeatureMaps, GeneratorOutput
from models.networks.input_encoding import pad_clip
from models.networks.rollout import History, RolloutConfig, generate_frame, rollout
from models.training.forward import Vid2VidForward
from models.training.schedule import compute_epoch_settings
from options import configs
from options.schema import TrainOptions
from tests.tiny import street_clip, tiny_networks, tiny_options, tiny_trainer
from util.clip import Clip

STREET = "--label_nc 5 --use_instance"
CPU = torch.device("cpu")


def generate_in_training(options: TrainOptions, clip: Clip) -> Tensor:
    """Return the images (B, T, 3, H, W) that training generates, window by window.

    As in inference, each clip of the batch is normalized by its own statistics.
    """
    trainer = tiny_trainer(options, tiny_networks(options))
    (forward,) = trainer.forward.forwards
    assert isinstance(forward, Vid2VidForward)
    ((netG,),) = forward.rollout.args  # type: ignore[attr-defined]
    use_per_sample_stats(netG)
    settings = compute_epoch_settings(1, trainer.config.schedule)
    state, images = None, []
    for window in clip.split_into_windows(options.n_frames_G):
        output = forward(window.to(CPU), state, settings)
        images.append(output.fake.detach())
        state = output.state
    return torch.cat(images, dim=1)


def generate_in_synthesis(options: TrainOptions, clip: Clip) -> Tensor:
    """Return (B, T, 3, H, W) as synthesis generates it, frame by frame."""
    first = first_frame.make_zero_images if options.no_first_img else first_frame.get_real_images
    synthesizer = Synthesizer.from_generators(
        tiny_networks(options).netG, configs.synthesis_config(options), first
    )
    frames = synthesizer.synthesize([clip.slice_frames(t, t + 1) for t in range(len(clip))])
    return torch.stack([image for _, image in frames], dim=1)


@pytest.mark.parametrize("scales", [1, 2, 3])
@pytest.mark.parametrize(
    ("flags", "load"),
    [
        (f"{STREET} --fg --fg_labels 1,3", 3),
        (f"{STREET} --no_first_img", 1),
        (f"{STREET} --no_flow --fg --fg_labels 2", 2),
        ("--label_nc 5 --n_frames_G 2 --norm instance", 2),
        (f"{STREET} --n_frames_G 4", 2),
    ],
)
def test_training_and_synthesis_generate_the_same_images(
    flags: str, load: int, scales: int
) -> None:
    options = tiny_options(f"{flags} --n_scales_spatial {scales}")
    clip = street_clip(options.n_frames_G - 1 + 6, 32, 48, load, batch=2)
    trained = generate_in_training(options, clip)
    assert trained.shape == (2, 6, 3, 32, 48)
    torch.testing.assert_close(generate_in_synthesis(options, clip), trained, atol=1e-5, rtol=0)
    assert trained.std() > 0.1 and (trained[:, 1:] - trained[:, :-1]).abs().mean() > 0.05


def test_no_first_img_disables_warping_for_a_window_in_training_and_one_frame_in_synthesis() -> (
    None
):
    """As published: without warping, a clip's first training window, but only a sequence's first frame."""
    options = tiny_options(f"{STREET} --no_first_img")
    clip = street_clip(6, 32, 48, load=2)
    trained, generated = generate_in_training(options, clip), generate_in_synthesis(options, clip)
    torch.testing.assert_close(generated[:, 0], trained[:, 0], atol=1e-5, rtol=0)
    assert (generated[:, 1] - trained[:, 1]).abs().mean() > 0.01


@pytest.mark.parametrize(("height", "width"), [(30, 43), (32, 48), (17, 21)])
@pytest.mark.parametrize("scales", [1, 2])
def test_output_size_equals_input_size(height: int, width: int, scales: int) -> None:
    options = tiny_options(f"{STREET} --n_scales_spatial {scales} --resize_or_crop none")
    clip = street_clip(4, height, width)
    images = generate_in_synthesis(options, clip)
    assert images.shape[-2:] == (height, width)
    padded = pad_clip(clip, configs.generator_config(options).size_multiple)
    torch.testing.assert_close(
        images, generate_in_training(options, padded)[..., :height, :width], atol=1e-5, rtol=0
    )


def test_every_frame_is_conditioned_on_previously_generated_images() -> None:
    """Other first images change all frames that follow."""
    options = tiny_options(STREET)
    clip = street_clip(6, 32, 48)
    other = replace(clip, image=torch.cat([-clip.image[:, :2], clip.image[:, 2:]], dim=1))
    change = (
        (generate_in_synthesis(options, clip) - generate_in_synthesis(options, other))
        .abs()
        .mean((0, 2, 3, 4))
    )
    assert (change > 1e-3).all()


def test_synthesis_keeps_only_the_needed_frames() -> None:
    """Inputs are read one at a time, so that a sequence may be endless."""
    options, reads = tiny_options(STREET), []
    clip = street_clip(4, 32, 48)

    def endless():
        while True:
            reads.append(1)
            yield clip.slice_frames(len(reads) % 4, len(reads) % 4 + 1)

    config = configs.synthesis_config(options)
    assert isinstance(config, SynthesisConfig)
    synthesizer = Synthesizer.from_generators(
        tiny_networks(options).netG, config, first_frame.get_real_images
    )
    frames = synthesizer.synthesize(endless())
    for n_generated in range(1, 5):
        next(frames)
        assert len(reads) == n_generated + 2


class RecordingGenerator(nn.Module):
    """A generator whose frame t is the mean of the previous images plus the parameter `offsets[t]`."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.offsets, self.calls = nn.Parameter(torch.zeros(count)), 0

    def forward(
        self, condition: Tensor, past: Tensor, no_warp: bool, *coarse: FeatureMaps
    ) -> tuple[GeneratorOutput, FeatureMaps]:
        image = past.mean(1) + self.offsets[self.calls]
        self.calls += 1
        return GeneratorOutput(image, image, None, None), FeatureMaps(image, None, None)


def find_reached_frames(network: RecordingGenerator, frames: GeneratorOutput) -> list[set[int]]:
    """Return, for each frame, the frames that its gradient reaches."""
    gradients = [
        torch.autograd.grad(frames.image[:, t].sum(), network.offsets, retain_graph=True)[0]
        for t in range(frames.image.shape[1])
    ]
    return [set(gradient.nonzero().flatten().tolist()) for gradient in gradients]


@pytest.mark.parametrize(
    ("backpropagate", "expected"),
    [
        (1, [{0}, {1}, {2}, {3}, {4}, {5}]),
        (
            2,
            [{0}, {0, 1}, {2}, {0, 1, 2, 3}, {4}, {0, 1, 2, 3, 4, 5}],
        ),  # frame 3 depends on frame 1 directly, and so passes the cut at frame 2
        (4, [{0}, {0, 1}, {0, 1, 2}, {0, 1, 2, 3}, {4}, {0, 1, 2, 3, 4, 5}]),
    ],
)
def test_gradients_reach_bptt_frames(backpropagate: int, expected: list[set[int]]) -> None:
    network = RecordingGenerator(6)
    frames, _ = rollout(
        nn.ModuleList([network]),
        torch.zeros(1, 8, 1, 4, 4),
        History.from_first_images(torch.zeros(1, 2, 3, 4, 4), 1),
        RolloutConfig(3, backpropagate),
    )
    assert find_reached_frames(network, frames) == expected


def test_no_gradient_flows_between_windows() -> None:
    network, config = nn.ModuleList([RecordingGenerator(8)]), RolloutConfig(3, bptt_frames=4)
    _, history = rollout(
        network,
        torch.zeros(1, 6, 1, 4, 4),
        History.from_first_images(torch.zeros(1, 2, 3, 4, 4), 1),
        config,
    )
    frames, _ = rollout(network, torch.zeros(1, 6, 1, 4, 4), history, config)
    (gradient,) = torch.autograd.grad(frames.image.sum(), network[0].offsets)
    assert set(gradient.nonzero().flatten().tolist()) == {4, 5, 6, 7}


def test_history_contains_the_last_images_of_every_scale_oldest_first() -> None:
    first = torch.arange(2.0).reshape(1, 2, 1, 1, 1).expand(1, 2, 3, 8, 8)
    history = History.from_first_images(first, 2)
    assert [tuple(level.shape) for level in history.images] == [(1, 2, 3, 8, 8), (1, 2, 3, 4, 4)]
    for new in (2.0, 3.0, 4.0):
        history = history.push([torch.full((1, 3, 8, 8), new), torch.full((1, 3, 4, 4), new)])
        assert all(level[0, :, 0, 0, 0].tolist() == [new - 1, new] for level in history.images)


@pytest.mark.parametrize("train_coarse", [True, False])
def test_frozen_coarse_generator_gets_no_gradient_and_generates_the_same(
    train_coarse: bool,
) -> None:
    options = tiny_options(f"{STREET} --n_scales_spatial 2 --fg --fg_labels 1")
    networks = tiny_networks(options).netG
    condition = configs.condition_config(options).encode_dense(street_clip(5, 32, 48))
    begin = History.from_first_images(torch.rand(1, 2, 3, 32, 48), 2)
    frames, _ = rollout(networks, condition, begin, RolloutConfig(3, 3, train_coarse=train_coarse))
    with torch.no_grad():
        expected, _ = rollout(networks, condition, begin, RolloutConfig(3, 3))
    assert torch.equal(frames.image, expected.image)
    (
        frames.image.mean()
        + frames.raw_image.mean()
        + frames.flow.square().mean()
        + frames.blend_weight.mean()
    ).backward()
    coarse, finest = ([p.grad is not None for p in network.parameters()] for network in networks)
    assert all(finest) and not any(coarse) if not train_coarse else all(finest) and any(coarse)


def test_frozen_coarse_generators_do_not_change_in_training() -> None:
    options = tiny_options(
        f"{STREET} --n_scales_spatial 2 --niter_fix_global 1 --n_frames_total 2 --lr 0.01"
    )
    networks = tiny_networks(options)
    trainer = tiny_trainer(options, networks)
    before = [[p.clone() for p in network.parameters()] for network in networks.netG]
    for epoch, coarse_moves in ((1, False), (2, True)):
        trainer.train_clip(
            street_clip(4, 32, 48), compute_epoch_settings(epoch, trainer.config.schedule)
        )
        moved = [
            any(not torch.equal(p, q) for p, q in zip(network.parameters(), old, strict=True))
            for network, old in zip(networks.netG, before, strict=True)
        ]
        assert moved == [coarse_moves, True]


def test_no_warp_frames_do_not_depend_on_previous_frames() -> None:
    """The image is the raw image. Flow and blend weight are computed all the same."""
    options = tiny_options(STREET)
    networks = tiny_networks(options).netG
    condition = build_pyramid(
        configs.condition_config(options).encode_dense(street_clip(3, 32, 48)), 1
    )
    frame, (image,) = generate_frame(
        networks, condition, History.from_first_images(torch.rand(1, 2, 3, 32, 48), 1), no_warp=True
    )
    assert (
        torch.equal(frame.image, frame.raw_image)
        and frame.flow is not None
        and frame.blend_weight is not None
    )
    assert image is frame.image
