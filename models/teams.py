"""Who works on which clips and frames: the networks as placement's groups of devices have them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from models.compiled import Compiler, compiled
from models.distillation import distillation_terms
from models.flow import ReferenceFlow
from models.networks import Networks, player_of
from models.objectives import (
    ObjectiveConfig,
    Perceptual,
    Terms,
    Window,
    image_terms,
    motion_terms,
    perceptual_terms,
)
from models.rollout import History
from models.single import Encoder
from models.temporal import FrameGroups, Memory, SeenFrame
from util.clip import Clip
from util.placement import Group, Placement, Slot
from util.placement.replicas import Replicas, Working, equal_runs

PERCEPTUAL, TEACHER = "VGG", "teacher"
AT_HOME = ("E", TEACHER)  # what works once in a group


@dataclass(frozen=True)
class Judge:
    """One device's discriminators and perceptual loss; networks.generator is empty."""

    device: torch.device
    networks: Networks
    perceptual: Perceptual | None


@dataclass(frozen=True)
class Team:
    """A group at work. device: where its clips arrive and its frames are gathered. generators: each paints a run of a
    window's frames. judges: share its frames and temporal groups. teacher: generators that the others learn from."""

    device: torch.device
    generators: tuple[nn.ModuleList, ...]
    judges: tuple[Judge, ...]
    encoder: Encoder | None
    reference: ReferenceFlow
    teacher: nn.ModuleList | None = None

    def share_frames(self, window: Window) -> Iterator[tuple[Judge, Window, float]]:
        """Each judge's frames, on its device, and what share of the window they are."""
        for judge, (start, stop) in zip(self.judges, equal_runs(len(window), len(self.judges)), strict=False):
            part = window.map(_part(start, stop, judge.device))
            yield judge, part, (stop - start) / len(window)

    def share_groups(self, groups: FrameGroups, flow: Tensor,
                     scale: int) -> Iterator[tuple[Judge, FrameGroups, Tensor, float]]:
        """The same for temporal groups and the flow (B, G, ...) inside them. Scales begin with different judges: most
        have a single group."""
        count = len(groups.numbers)
        for i, (start, stop) in enumerate(equal_runs(count, len(self.judges))):
            judge = self.judges[(i + scale) % len(self.judges)]
            take = _part(start, stop, judge.device)
            part = FrameGroups(groups.numbers[start:stop], take(groups.real), take(groups.fake), take(groups.flow))
            yield judge, part, take(flow), (stop - start) / count


def picture_terms(judge: Judge, window: Window, config: ObjectiveConfig) -> Terms:
    """Of single pictures: adversarial, motion, perceptual."""
    assert judge.networks.image is not None
    terms = image_terms(judge.networks.image, window, config) | motion_terms(window, config)
    if judge.perceptual is not None:
        terms |= perceptual_terms(judge.perceptual, window, config)
    if window.taught is not None:
        terms |= distillation_terms(judge.perceptual, window, config)
    return terms


def _part(start: int, stop: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Cuts (B, T, ...) and moves it."""
    return lambda tensor: tensor[:, start:stop].to(device, non_blocking=True)


@dataclass(frozen=True)
class Past:
    """What a window hands to the next: the generated pictures, what the temporal discriminators remember, and the
    teacher's pictures."""

    history: History | None
    memory: Memory
    taught: History | None = None

    def part(self, start: int, stop: int, device: torch.device) -> Past:
        """Of clips start..stop-1 of the batch, on the device."""
        def take(tensor: Tensor) -> Tensor:
            return tensor[start:stop].to(device)

        history, taught = (None if past is None else History(tuple(map(take, past.pictures)))
                           for past in (self.history, self.taught))
        frames = {n: SeenFrame(take(f.real), take(f.fake), take(f.flow)) for n, f in self.memory.frames.items()}
        return Past(history, Memory(self.memory.kept, frames), taught)

    @staticmethod
    def join(parts: Sequence[Past]) -> Past:
        """Of the whole batch, on the CPU."""
        def joined(tensors: Iterable[Tensor]) -> Tensor:
            return torch.cat([tensor.detach().cpu() for tensor in tensors])

        def whole(histories: Iterable[History | None]) -> History | None:
            known = [history.pictures for history in histories if history is not None]
            return History(tuple(map(joined, zip(*known, strict=True)))) if known else None

        frames = {n: SeenFrame(*(joined(getattr(part.memory.frames[n], name) for part in parts)
                                 for name in ("real", "fake", "flow"))) for n in parts[0].memory.frames}
        return Past(whole(part.history for part in parts), Memory(parts[0].memory.kept, frames),
                    whole(part.taught for part in parts))


@dataclass(frozen=True)
class Share:
    """A team's clips of a batch, from number `start` on, and what share of the batch they are."""

    team: Team
    clip: Clip
    start: int
    weight: float


@dataclass(frozen=True)
class Teams:
    """members: share every batch. replicas: the networks that optimisers move, and their copies."""

    members: tuple[Team, ...]
    replicas: Replicas

    def share(self, batch: Clip) -> list[Share]:
        """Equal runs of clips, the last teams without any where there are too few."""
        count = len(batch.names)
        return [Share(team, batch.clips(start, stop), start, (stop - start) / count)
                for team, (start, stop) in zip(self.members, equal_runs(count, len(self.members)), strict=False)]


def build_teams(placement: Placement, networks: Networks, perceptual: nn.Module | None,
                reference_on: Callable[[torch.device], ReferenceFlow], teacher: nn.ModuleList | None = None,
                compiler: Compiler | None = None) -> Teams:
    """networks, perceptual, teacher: at home, where they stay. reference_on: the reference flow for a device. compiler:
    of what works in groups (`--compile`)."""
    frozen = {PERCEPTUAL: perceptual, TEACHER: teacher}
    masters = networks.learning() | {name: network for name, network in frozen.items() if network is not None}
    replicas = Replicas.make(masters, {name: _slots(name, placement) for name in masters})
    working = replicas.working if compiler is None else _compiled(replicas.working, compiler)
    return Teams(tuple(_team(group, networks, working, reference_on) for group in placement.groups), replicas)


def _compiled(working: Mapping[str, Working], compiler: Compiler) -> dict[str, Working]:
    """All but those that work at home: an encoder's regions are as many as a picture has, a teacher is a list."""
    return {name: at if name in AT_HOME else {n: compiled(network, compiler) for n, network in at.items()}
            for name, at in working.items()}


def _slots(name: str, placement: Placement) -> list[Slot]:
    """Where a network works."""
    if name in AT_HOME:
        return [group.home for group in placement.groups]
    return [slot for group in placement.groups
            for slot in (group.generators if player_of(name) == "G" else group.discriminators)]


def _team(group: Group, networks: Networks, working: Mapping[str, Working],
          reference_on: Callable[[torch.device], ReferenceFlow]) -> Team:
    def at_work(slot: Slot) -> dict[str, Any]:
        return {name: at[slot.number] for name, at in working.items() if slot.number in at}

    def painter(slot: Slot) -> nn.ModuleList:
        return nn.ModuleList(network for name, network in at_work(slot).items() if name.startswith("G"))

    def judge(slot: Slot) -> Judge:
        at = at_work(slot)
        own = replace(networks, generator=nn.ModuleList(), encoder=None, averaged=None, image=at.get("D"),
                      face=at.get("D_f"), temporal=nn.ModuleList(at[f"D_T{s}"] for s in range(len(networks.temporal))))
        return Judge(slot.device, own, at.get(PERCEPTUAL))

    return Team(group.home.device, tuple(map(painter, group.generators)), tuple(map(judge, group.discriminators)),
                at_work(group.home).get("E"), reference_on(group.home.device), at_work(group.home).get(TEACHER))
