"""The networks as the public release executes them, which is what `scripts/bench.py` calls 1.0x.

Float32, contiguous NCHW, dense one-hot maps, library convolutions and norms; discriminators see every fake twice and
the real frames once for each judged picture, VGG likewise; reference flow is estimated at every step; every frame is
read, painted and written before the next; Adam goes weight by weight. Never improved. It reads weights by their
published keys and shares only nouns and bookkeeping with the program, so it is also the slow reference of the fast
networks. It passes the golden cases: `python scripts/plain_way.py train|test` and the flags of train.py or test.py.
"""

from __future__ import annotations

import runpy
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.inputs import open_input
from models.conditions import ConditionConfig, pad_clip
from models.discriminators import DiscriminatorConfig, MultiScaleDiscriminator
from models.first_frame import FirstPictures, choose_first_pictures
from models.generators import Frame, build_generator
from models.guard import checked_losses
from models.losses import Scores, feature_matching_loss, gan_loss
from models.objectives import Terms, Verdict, Window, face_box, flat, motion_terms, sum_of
from models.perceptual import LAYERS, PerceptualLoss
from models.rollout import History
from models.saving import load_generator
from models.schedule import Phase
from models.synthesis import SynthesisConfig
from models.teams import Past, Share, Team
from models.temporal import FrameGroups, SeenFrame, group_frames
from models.trainer import Trained, Trainer
from models.watch import spreads
from options import configs
from options.methods import METHODS
from options.test import parse_test
from util.clip import Clip
from util.errors import UserError, reported
from util.pictures import to_uint8
from util.placement import place
from util.results import SequenceWriter

Maps = dict[str, Tensor]  # by branch: model_{}_img, model_{}_flow, indv_{}

# networks (SPEC 6)


@dataclass
class PlainNetwork:
    """A network that is nothing but its state dict: layers are known by their keys and shapes."""

    weights: Mapping[str, Tensor]

    @cached_property
    def layers(self) -> dict[str, list[int]]:
        """The numbered layers that have weights, by stage."""
        found: dict[str, set[int]] = {}
        for key in self.weights:
            stage, number, *_ = key.split(".")
            found.setdefault(stage, set()).add(int(number))
        return {stage: sorted(numbers) for stage, numbers in found.items()}

    def convolved(self, layer: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(x, self.weights[f"{layer}.weight"], self.weights[f"{layer}.bias"], stride, padding)

    def enlarged(self, layer: str, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.weights[f"{layer}.weight"], self.weights[f"{layer}.bias"], 2, 1, 1)

    def normed(self, layer: str, x: Tensor) -> Tensor:
        """By the statistics of x."""
        if f"{layer}.weight" in self.weights:
            return F.batch_norm(x, None, None, self.weights[f"{layer}.weight"], self.weights[f"{layer}.bias"], True)
        return F.instance_norm(x)

    def reflected(self, layer: str, x: Tensor) -> Tensor:
        """A convolution that keeps the size."""
        margin = self.weights[f"{layer}.weight"].shape[-1] // 2
        return self.convolved(layer, F.pad(x, [margin] * 4, "reflect"))

    def residual(self, block: str, x: Tensor) -> Tensor:
        inner = F.relu_(self.normed(f"{block}.2", self.reflected(f"{block}.1", x)))
        return x + self.normed(f"{block}.6", self.reflected(f"{block}.5", inner))

    def stage(self, name: str, x: Tensor) -> Tensor:
        """7x7 convolution, downs, residual blocks and ups, as many as there are."""
        for number in self.layers.get(name, []):
            layer = f"{name}.{number}"
            if f"{layer}.conv_block.1.weight" in self.weights:
                x = self.residual(f"{layer}.conv_block", x)
            elif f"{layer}.weight" in self.weights and self.weights[f"{layer}.weight"].ndim == 4:  # no norm's
                x = F.relu_(self.normed(f"{name}.{number + 1}", self.resized(layer, x)))
        return x

    def resized(self, layer: str, x: Tensor) -> Tensor:
        if self.weights[f"{layer}.weight"].shape[-1] == 7:
            return self.reflected(layer, x)
        return self.enlarged(layer, x) if "_up" in layer else self.convolved(layer, x, stride=2, padding=1)


@dataclass
class PlainGenerator(PlainNetwork):
    """G0 (scale 0), G1, ... foreground: label ids that have their own hourglass."""

    scale: int
    foreground: tuple[int, ...] = ()

    def __call__(self, condition: Tensor, previous: Tensor, raw_only: bool, coarse: Maps) -> tuple[Frame, Maps]:
        """condition (B, tG, C, h, w), previous (B, tG-1, 3, h, w), coarse: the network below's maps before its heads
        -> the frame, (B, C, h, w), and this network's maps."""
        seen, pictures = condition.flatten(1, 2), previous.flatten(1, 2)
        trunk = self.stage("model_down_seg", seen) + self.stage("model_down_img", pictures)
        starts = {f"model_{{}}_{part}": trunk for part in ("img", "flow") if f"model_up_{part}" in self.layers}
        if self.foreground:
            starts["indv_{}"] = self.stage("indv_down", seen)
        maps = {branch: self.stage(branch.format("up"), start + coarse[branch] if coarse else
                                   self.stage(branch.format("res"), start)) for branch, start in starts.items()}
        return self.painted(maps, condition, previous, raw_only), maps

    def painted(self, maps: Maps, condition: Tensor, previous: Tensor, raw_only: bool) -> Frame:
        picture = raw = self.reflected("model_final_img.1", maps["model_{}_img"]).tanh()
        flow = weight = None
        if (motion := maps.get("model_{}_flow")) is not None:
            flow = self.reflected("model_final_flow.1", motion) * 20 * 2**self.scale
            weight = self.reflected("model_final_w.1", motion).sigmoid()
            if not raw_only:
                picture = raw * weight + warped(previous[:, -1], flow) * (1 - weight)
        if self.foreground:
            figures = self.reflected("indv_final.1", maps["indv_{}"]).tanh()
            mask = condition[:, -1, list(self.foreground)].sum(1, keepdim=True).clamp(0, 1)
            picture, raw = (figures * mask + x * (1 - mask) for x in (picture, raw))
        return Frame(picture, raw, flow, weight)


@dataclass
class PlainDiscriminator(PlainNetwork):
    config: DiscriminatorConfig

    def __call__(self, x: Tensor) -> Scores:
        """(N, C, H, W) -> per scale, the finest first, its feature maps; the last is the score."""
        levels = reversed(range(self.config.n_scales))
        return [self.patches(scale, x) for scale, x in zip(levels, pyramid(x, self.config.n_scales), strict=True)]

    def patches(self, scale: int, x: Tensor) -> list[Tensor]:
        last, maps = self.config.n_layers + 1, []
        for n in range(last + 1):
            layer = f"scale{scale}_layer{n}"
            x = self.convolved(f"{layer}.0", x, stride=2 if n < self.config.n_layers else 1, padding=2)
            x = self.normed(f"{layer}.1", x) if 0 < n < last else x
            x = F.leaky_relu_(x, 0.2) if n < last else x
            maps.append(x)
        return maps


def warped(picture: Tensor, flow: Tensor) -> Tensor:
    """picture(p + flow(p)): (N, C, H, W), (N, 2, H, W) in pixels."""
    y, x = (torch.arange(side, device=flow.device) for side in flow.shape[2:])
    at = torch.stack([(x + flow[:, 0]) / (len(x) - 1), (y[:, None] + flow[:, 1]) / (len(y) - 1)], dim=3)
    return F.grid_sample(picture, at * 2 - 1, "bilinear", "border", align_corners=True)


def halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x.flatten(0, -4), 3, 2, padding=1, count_include_pad=False).unflatten(0, x.shape[:-3])


def pyramid(x: Tensor, scales: int) -> list[Tensor]:
    """The finest first."""
    levels = [x]
    for _ in range(scales - 1):
        levels.append(halved(levels[-1]))
    return levels


def encoded(clip: Clip, config: ConditionConfig) -> Tensor:
    """(B, T, C, H, W) float32: one-hot labels, then the instance edge."""
    condition = clip.condition
    if config.label_nc:
        ids = torch.arange(config.label_nc, device=condition.device)[:, None, None]
        condition = (condition == ids).float()
    if not config.instance_edges:
        return condition
    assert clip.instance is not None
    around = F.pad(clip.instance.float(), [1, 1, 1, 1, 0, 0], "replicate")
    shifted = (around[..., 1:-1, 2:], around[..., 1:-1, :-2], around[..., 2:, 1:-1], around[..., :-2, 1:-1])
    edges = torch.stack([neighbour != clip.instance for neighbour in shifted]).any(0)
    return torch.cat([condition, edges.float()], dim=2)


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Its own parameters, laid out plainly."""
    for tensor in network.parameters():
        tensor.data = tensor.data.contiguous()
    return network.state_dict(keep_vars=True)


def generators_of(networks: nn.ModuleList) -> list[PlainGenerator]:
    return [PlainGenerator(weights_of(network), scale, network.config.foreground)  # type: ignore[union-attr,arg-type]
            for scale, network in enumerate(networks)]


# generating (SPEC 7)


def painted_frame(networks: Sequence[PlainGenerator], levels: Sequence[Tensor], history: Sequence[Tensor],
                  raw_only: bool, learning: int) -> tuple[Frame, list[Tensor]]:
    """One frame, and its pictures at all scales. levels: conditions (B, tG, C, h, w), history: pictures
    (B, tG-1, 3, h, w), the finest scale first. learning: how many networks, from the finest, get gradients."""
    coarse: Maps = {}
    pictures: list[Tensor] = []
    for network, seen, past in zip(networks, reversed(levels), reversed(history), strict=True):
        with torch.set_grad_enabled(torch.is_grad_enabled() and network.scale >= len(networks) - learning):
            frame, coarse = network(seen, past, raw_only, coarse)
        pictures.insert(0, frame.picture)
    return frame, pictures


def pushed(history: Sequence[Tensor], pictures: Sequence[Tensor]) -> list[Tensor]:
    return [torch.cat([past[:, 1:], new[:, None]], dim=1) for past, new in zip(history, pictures, strict=True)]


@torch.no_grad()
def synthesise(networks: nn.ModuleList, frames: Iterable[Clip], first: FirstPictures, config: SynthesisConfig,
               device: torch.device) -> Iterator[tuple[Clip, Tensor]]:
    """As `models.synthesis.synthesise`."""
    plain = generators_of(networks)
    given: list[Clip] = []
    seen: deque[Tensor] = deque(maxlen=config.n_frames)
    history: list[Tensor] = []
    for frame in frames:
        padded = pad_clip(frame.to(torch.device("cpu")), config.size_multiple).to(device)  # it loads float32
        seen.append(encoded(padded, config.conditions))
        if len(seen) < config.n_frames:
            given.append(padded)
            continue
        begins = not history
        history = history or pyramid(first(given), len(plain))
        levels = pyramid(torch.cat(list(seen), dim=1), len(plain))
        made, pictures = painted_frame(plain, levels, history, begins and config.begin_with_zeros, len(plain))
        history = pushed(history, pictures)
        height, width = frame.condition.shape[-2:]
        yield frame, made.picture[..., :height, :width]


# learning (SPEC 8)


def perceptual_distance(vgg: nn.Sequential, fake: Tensor, real: Tensor) -> Tensor:
    while fake.shape[-1] > 1024:
        fake, real = F.avg_pool2d(fake, 2), F.avg_pool2d(real, 2)
    total = fake.new_zeros(())
    for number, layer in enumerate(vgg):
        fake, real = layer(fake), layer(real)
        if number in LAYERS:
            total = total + LAYERS[number] * F.l1_loss(fake, real.detach())
    return total


@dataclass(frozen=True)
class PlainTrainer(Trainer):
    """The trainer with its own window and step; runs, epochs, files and pages are bookkeeping."""

    def __post_init__(self) -> None:
        discriminator = self.networks.image.config if self.networks.image else DiscriminatorConfig()
        if (self.networks.encoder or self.config.ema or self.config.objectives.r1 or discriminator.spectral_norm
                or not discriminator.keep_features or self.placement.precision.amp != "off"
                or len(self.teams.members) > 1):
            raise UserError("the plain way trains on one device as the public release did: leave out --label_feat, "
                            "--ema, --r1, --spectral_norm, --no_ganFeat, --amp and further --gpu_ids")
        for stepper in self.optimizers.values():
            for group in stepper.param_groups:
                group.update(foreach=False, fused=False)

    def train_window(self, shares: Sequence[Share], windows: Sequence[Clip], start: int, phase: Phase,
                     pasts: Sequence[Past]) -> tuple[Trained, list[Past]]:
        team, clip = shares[0].team, windows[0].to(self.placement.device)  # a window knows no flow: it is estimated
        view, history = self.painted_window(team, clip, phase, pasts[0].history)
        new = {start + i: SeenFrame(view.real[:, i], view.frames.picture[:, i], view.reference.flow[:, i])
               for i in range(len(view))}
        groups, memory = group_frames(pasts[0].memory, new, self.config.temporal)
        players = {"D": self.picture_terms(team, view) | motion_terms(view, self.config.objectives)
                   | self.face_terms(view)}
        players |= {f"D_T{scale}": self.group_terms(team, clip, found, scale).named(scale)
                    for scale, found in enumerate(groups) if found is not None}
        losses, spread = checked_losses(players, spreads(view), self.placement.processes)
        self.step_once("G", [loss for terms in players.values() for loss in terms.generator.values()])
        for player, terms in players.items():
            self.step_once(player, [loss / 2 for loss in terms.discriminator.values()])
        return Trained(losses, spread, windows[0], view), [Past(history, memory)]

    def step_once(self, player: str, losses: Sequence[Tensor]) -> None:
        self.optimizers[player].optimizer.zero_grad()
        sum_of(losses).backward()
        self.optimizers[player].optimizer.step()

    def painted_window(self, team: Team, clip: Clip, phase: Phase, past: History | None) -> tuple[Window, History]:
        given, real = self.config.schedule.n_frames_G - 1, clip.picture
        assert real is not None
        plain, condition = generators_of(self.networks.generator), encoded(clip, self.config.conditions)
        zeros, learning = self.config.begin_with_zeros, len(plain) if phase.train_coarse else 1
        history = list(past.pictures) if past else pyramid(real[:, :given] * (0 if zeros else 1), len(plain))
        newest = history[0][:, -1] if past else real[:, given - 1]
        frames: list[Frame] = []
        for t in range(clip.load):
            seen = [level[:, t:t + given + 1] for level in pyramid(condition, len(plain))]
            known = [pictures.detach() for pictures in history] if t % phase.backpropagate == 0 else history
            frame, pictures = painted_frame(plain, seen, known, past is None and zeros, learning)
            history = pushed(history, pictures)
            frames.append(frame)
        made, current, previous = Frame.stack(frames), real[:, given:], real[:, given - 1:-1]
        before = torch.cat([newest[:, None], made.picture[:, :-1]], dim=1).detach()
        view = Window(condition[:, given:], current, previous, made, before,
                      self.flow_between(team, clip, [(0, -1)], current, previous))
        return view, History(tuple(pictures.detach() for pictures in history))

    def verdict(self, network: MultiScaleDiscriminator | None, real: Tensor, fake: Tensor) -> Verdict:
        config = self.config.objectives
        assert network is not None
        judge = PlainDiscriminator(weights_of(network), network.config)
        of_real, of_detached, of_fake = judge(real), judge(fake.detach()), judge(fake)
        return Verdict(
            real=gan_loss(of_real, True, config.gan_mode), fake=gan_loss(of_detached, False, config.gan_mode),
            gan=gan_loss(of_fake, True, config.gan_mode, for_discriminator=False),
            features=feature_matching_loss(of_fake, of_real) * config.feature_weight)

    def picture_terms(self, team: Team, view: Window) -> Terms:
        vgg, config = team.judges[0].perceptual, self.config.objectives
        condition, real, judged = flat(view.condition), flat(view.real), [flat(x) for x in config.judged(view.frames)]
        verdicts = [self.verdict(self.networks.image, torch.cat([condition, real], 1), torch.cat([condition, fake], 1))
                    for fake in judged]
        terms = {"G_GAN": sum_of(v.gan for v in verdicts), "G_GAN_Feat": sum_of(v.features for v in verdicts)}
        if isinstance(vgg, PerceptualLoss):
            terms["G_VGG"] = sum_of(perceptual_distance(vgg.features, x, real) for x in judged) * config.lambda_feat
        return Terms(terms, {"D_real": sum_of(v.real for v in verdicts), "D_fake": sum_of(v.fake for v in verdicts)})

    def face_terms(self, view: Window) -> Terms:
        if self.networks.face is None:
            return Terms()
        zero, box = view.real.new_zeros(()), face_box(view.condition, self.config.objectives)
        if box is None:
            return Terms({"G_f_GAN": zero, "G_f_GAN_Feat": zero}, {"D_f_real": zero, "D_f_fake": zero})
        real, fake = (flat(torch.cat([view.condition, x], 2)[..., box[0], box[1]])
                      for x in (view.real, view.frames.picture))
        verdict = self.verdict(self.networks.face, real, fake)
        return Terms({"G_f_GAN": verdict.gan * 2, "G_f_GAN_Feat": verdict.features * 2},
                     {"D_f_real": verdict.real, "D_f_fake": verdict.fake})

    def group_terms(self, team: Team, clip: Clip, groups: FrameGroups, scale: int) -> Terms:
        motion = self.group_flow(team, clip, groups, scale) / 20
        real, fake = (torch.cat([part.flatten(0, 1).flatten(1, 2) for part in (pictures, motion)], 1)
                      for pictures in (groups.real, groups.fake))
        verdict = self.verdict(self.networks.temporal[scale], real, fake)  # type: ignore[arg-type]
        return Terms({"G_T_GAN": verdict.gan, "G_T_GAN_Feat": verdict.features,
                      "G_T_Warp": torch.zeros_like(verdict.gan)},
                     {"D_T_real": verdict.real, "D_T_fake": verdict.fake})


# the programs


def train(flags: Sequence[str]) -> None:
    """train.py, whose trainer is the plain one."""
    plain = {"vid2vid": replace(METHODS["vid2vid"], trainer=PlainTrainer)}
    with patch.dict(METHODS, plain), patch.object(sys, "argv", ["train.py", *flags]):
        runpy.run_path(str(Path(__file__).parents[1] / "train.py"), run_name="__main__")


def test(flags: Sequence[str]) -> None:
    """test.py without its page: every frame is read, painted and written before the next is looked at."""
    options = parse_test(flags)
    domain, folder, given = configs.domain(options), configs.results_folder(options), options.n_frames_G - 1
    first, reads_pictures = choose_first_pictures(configs.first_frame(options))
    networks, device = build_generator(configs.generator(options)), place(configs.placement(options)).device
    load_generator(networks, configs.run_folder(options), options.which_epoch)
    networks.to(device)
    readers = open_input(configs.source(options, reads_pictures), domain, configs.geometry(options), given,
                         folder / "input")
    left = options.how_many
    for name, reader, _ in readers.sequences:
        made = synthesise(networks, reader, first, configs.synthesis(options), device)
        with SequenceWriter(folder / name, 25, {"real_A": ".png" if options.label_nc else ".jpg",
                                                "fake_B": ".jpg"}) as writer:
            for clip, picture in islice(made, left):
                writer.write(Path(clip.names[0][0]).name, {
                    "real_A": domain.show(clip.condition[0, 0]), "fake_B": to_uint8(picture[0])})
                left -= 1


if __name__ == "__main__":
    with reported():
        if sys.argv[1:2] not in (["train"], ["test"]):
            raise UserError("give train or test, and the flags of train.py or test.py")
        {"train": train, "test": test}[sys.argv[1]](sys.argv[2:])
