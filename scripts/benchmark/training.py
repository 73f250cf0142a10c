"""Training steps by the program and by the plain way, from the same weights, on the same window.

The window stands late in a clip, where every temporal scale has a group: the memory before it is filled from the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from data.clips import ClipDataset
from models.flow.reference import NoFlow, ReferenceFlow
from models.networks import build_optimizers
from models.perceptual import PerceptualLoss
from models.rollout import History
from models.schedule import phase_at
from models.teams import Past, build_teams
from models.temporal import Memory, SeenFrame, group_frames
from models.trainer import Trained, Trainer
from options import configs
from options.assembly import open_footage
from options.methods import METHODS
from options.parsing import Options
from options.train import parse_train
from scripts.benchmark.clock import Limits, in_turn
from scripts.benchmark.report import PLAIN, Row, row_of
from scripts.benchmark.subject import Size, condition_well, mode_flags
from scripts.plain_way import PlainTrainer
from util.clip import Clip
from util.placement import Placement, place

OURS = "float32"
WARM = 5  # rounds before the clock counts: until then the process still grows, and new memory costs time
GIVEN = {"--use_real_img"}  # what training does not ask


def training_options(mode: str, size: Size, ngf: int, data: Path, more: Sequence[str] = ()) -> Options:
    flags = [flag for flag in mode_flags(mode, size) if flag not in GIVEN]
    return parse_train([*flags, f"--ngf={ngf}", f"--dataroot={data}", "--n_frames_total=1", "--no_flip", *more])


@dataclass(frozen=True)
class Step:
    """One window of a trainer, again and again. start: number of its first generated frame in the clip."""

    trainer: Trainer
    clip: Clip
    start: int
    past: Past

    def __call__(self) -> Trained:
        shares = self.trainer.teams.share(self.clip)
        window, *_ = self.clip.windows(self.trainer.config.schedule.n_frames_G)
        phase = phase_at(1, self.trainer.config.schedule)
        return self.trainer.train_window(shares, [window], self.start, phase, [self.past])[0]


def build_step(options: Options, kind: type[Trainer], placement: Placement, reference: ReferenceFlow, clip: Clip,
               start: int) -> Step:
    """Networks drawn by the seed: all steps of the same options begin alike."""
    torch.manual_seed(options.seed)
    networks = METHODS[options.model].networks(options).to(placement.device)
    perceptual = PerceptualLoss().to(placement.device)
    condition_well(networks.generator)
    schedule = configs.schedule(options, longest=start + 9, n_gpus_gen=1)
    trainer = kind(
        networks, placement.steppers(build_optimizers(networks, configs.optimizer(options)), None),
        build_teams(placement, networks, perceptual, lambda _: reference), placement,
        config=configs.trainer(options, schedule, steps_per_epoch=1), journal=None, show=configs.domain(options).show)
    return Step(trainer, clip, start, filled_past(trainer, clip, start))


def filled_past(trainer: Trainer, clip: Clip, start: int) -> Past:
    """As if `start` frames had been generated, each like a real one."""
    pictures, config = clip.picture, trainer.config.temporal
    assert pictures is not None
    still, memory = pictures.new_zeros(len(pictures), 2, *pictures.shape[-2:]), Memory.empty(config)
    for number in range(start):
        picture = pictures[:, number % pictures.shape[1]]
        _, memory = group_frames(memory, {number: SeenFrame(picture, picture, still)}, config)
    return Past(History.begin(pictures[:, :trainer.config.schedule.n_frames_G - 1], len(trainer.networks.generator)),
                memory)


def read_clip(options: Options, placement: Placement) -> Clip:
    """The first one of the first epoch."""
    footage = open_footage(options, placement)
    return ClipDataset(footage.domain, footage.sequences, configs.geometry(options))[footage.epoch(1)[0][0]]


def measure_training(options: Options, rounds: int, limits: Limits, teacher: ReferenceFlow | None = None) -> list[Row]:
    """teacher: estimates the plain way's reference flow at every step, while the program finds it in the cache; None:
    neither has any."""
    placement = place(configs.placement(options))
    clip, temporal = read_clip(options, placement), configs.temporal(options)
    start = temporal.n_frames**max(temporal.n_scales - 1, 0) * (temporal.n_frames - 1)
    clip = clip.to(placement.device)
    cached = clip if teacher is None else with_flow(clip, start, options, teacher)
    plain = build_step(options, PlainTrainer, placement, teacher or NoFlow(), clip, start)
    ours = build_step(options, METHODS[options.model].trainer, placement, NoFlow(), cached, start)
    steps = {PLAIN: plain, OURS: ours}
    first = {way: executed(step) for way, step in steps.items()}
    ways = {way: repeated(step) for way, step in steps.items()}
    in_turn(ways, WARM, placement.device)
    taken = in_turn(ways, rounds, placement.device, warm=True)
    expected, macs = first[PLAIN][0].losses, first[PLAIN][1]  # what was saved counts as done
    return [row_of(way, taken[way], taken[PLAIN], macs, limits.gmacs["off"],
                   largest_difference(trained.losses, expected)) for way, (trained, _) in first.items()]


def with_flow(clip: Clip, start: int, options: Options, teacher: ReferenceFlow) -> Clip:
    """With what the cache would hold: the flow that the window's frame and its groups will ask for."""
    pictures, given, tD = clip.picture, options.n_frames_G - 1, options.n_frames_D
    assert pictures is not None
    neighbours = [(start - i * stride, start - (i + 1) * stride) for i in range(tD - 1)
                  for stride in (tD**scale for scale in range(1, options.n_scales_temporal))]
    seen = {(start, start - 1): (pictures[:, -1], pictures[:, -2])} | {
        (a, b): (pictures[:, -1 if a == start else a % len(clip)], pictures[:, b % len(clip)]) for a, b in neighbours}
    flows = [teacher.vectors(*pair) for pair in seen.values()]
    return replace(clip, pairs=tuple((a + given, b + given) for a, b in seen), pair_flow=torch.stack(flows, dim=1))


def repeated(step: Step) -> Callable[[], Iterator[Trained]]:
    """One a round."""
    return lambda: (step() for _ in range(1))


def executed(step: Step) -> tuple[Trained, int]:
    """A step, and how many multiply-accumulates it made."""
    with FlopCounterMode(display=False) as counter:
        trained = step()
    return trained, counter.get_total_flops() // 2


def largest_difference(ours: Mapping[str, float], plain: Mapping[str, float]) -> float:
    """Of the losses of a step from the same weights, relative."""
    assert set(ours) == set(plain)
    return max(abs(ours[name] - value) / max(abs(value), 1e-6) for name, value in plain.items())
