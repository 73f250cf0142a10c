"""Who works on which clips and frames: the networks as placement's groups of devices have them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from models.flow import FlowEstimator
from models.losses.distillation import compute_distillation_losses
from models.losses.temporal_groups import BufferedFrame, FrameBuffer, FrameGroups
from models.losses.vid2vid import (
    GeneratedWindow,
    LossConfig,
    Losses,
    PerceptualDistance,
    compute_flow_losses,
    compute_image_losses,
    compute_perceptual_losses,
)
from models.networks.collection import Vid2VidModels, optimizer_name
from models.networks.pix2pixhd import Encoder
from models.networks.rollout import History
from models.ops.compile import FallbackCompiler, compile_network
from models.ops.install import install_optimized_ops
from util.clip import Clip
from util.distributed import DeviceGroup, DeviceSetup, DeviceSlot
from util.distributed.replicas import ReplicasBySlot, ReplicatedNetworks, split_evenly

_PERCEPTUAL_NAME, _TEACHER_NAME = "VGG", "teacher"
_PRIMARY_SLOT_ONLY = ("E", _TEACHER_NAME)  # what works once in a group


@dataclass(frozen=True)
class DiscriminatorReplica:
    """One device's discriminators and perceptual loss; networks.generator is empty."""

    device: torch.device
    networks: Vid2VidModels
    perceptual_loss: PerceptualDistance | None


@dataclass(frozen=True)
class DeviceGroupModels:
    """A group at work. device: where its clips arrive and its frames are gathered. generators: each paints a run of a
    window's frames. judges: share its frames and temporal groups. teacher: generators that the others learn from."""

    device: torch.device
    generators: tuple[nn.ModuleList, ...]
    discriminators: tuple[DiscriminatorReplica, ...]
    encoder: Encoder | None
    flow_estimator: FlowEstimator
    teacher: nn.ModuleList | None = None

    def scatter_frames(
        self, window: GeneratedWindow
    ) -> Iterator[tuple[DiscriminatorReplica, GeneratedWindow, float]]:
        """Each judge's frames, on its device, and what share of the window they are."""
        for judge, (start, stop) in zip(
            self.discriminators, split_evenly(len(window), len(self.discriminators)), strict=False
        ):
            part = window.apply(_slice_to_device(start, stop, judge.device))
            yield judge, part, (stop - start) / len(window)

    def scatter_frame_groups(
        self, groups: FrameGroups, flow: Tensor, scale: int
    ) -> Iterator[tuple[DiscriminatorReplica, FrameGroups, Tensor, float]]:
        """The same for temporal groups and the flow (B, G, ...) inside them. Scales begin with different judges: most
        have a single group."""
        count = len(groups.frame_numbers)
        for i, (start, stop) in enumerate(split_evenly(count, len(self.discriminators))):
            judge = self.discriminators[(i + scale) % len(self.discriminators)]
            take = _slice_to_device(start, stop, judge.device)
            part = FrameGroups(
                groups.frame_numbers[start:stop],
                take(groups.real),
                take(groups.fake),
                take(groups.flow),
            )
            yield judge, part, take(flow), (stop - start) / count


def compute_frame_losses(
    replica: DiscriminatorReplica, window: GeneratedWindow, config: LossConfig
) -> Losses:
    """Of single images: adversarial, motion, perceptual."""
    assert replica.networks.netD is not None
    terms = compute_image_losses(replica.networks.netD, window, config) | compute_flow_losses(
        window, config
    )
    if replica.perceptual_loss is not None:
        terms |= compute_perceptual_losses(replica.perceptual_loss, window, config)
    if window.teacher_images is not None:
        terms |= compute_distillation_losses(replica.perceptual_loss, window, config)
    return terms


def _slice_to_device(start: int, stop: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Cuts (B, T, ...) and moves it."""
    return lambda tensor: tensor[:, start:stop].to(device, non_blocking=True)


@dataclass(frozen=True)
class ClipState:
    """What a window hands to the next: the generated images, what the temporal discriminators remember, and the
    teacher's images."""

    history: History | None
    frame_buffer: FrameBuffer
    teacher_history: History | None = None

    def slice_batch(self, start: int, stop: int, device: torch.device) -> ClipState:
        """Of clips start..stop-1 of the batch, on the device."""

        def take(tensor: Tensor) -> Tensor:
            return tensor[start:stop].to(device)

        history, taught = (
            None if past is None else History(tuple(map(take, past.images)))
            for past in (self.history, self.teacher_history)
        )
        frames = {
            n: BufferedFrame(take(f.real), take(f.fake), take(f.flow))
            for n, f in self.frame_buffer.frames.items()
        }
        return ClipState(history, FrameBuffer(self.frame_buffer.retained, frames), taught)

    @staticmethod
    def concatenate(states: Sequence[ClipState]) -> ClipState:
        """Of the whole batch, on the CPU."""

        def joined(tensors: Iterable[Tensor]) -> Tensor:
            return torch.cat([tensor.detach().cpu() for tensor in tensors])

        def whole(histories: Iterable[History | None]) -> History | None:
            known = [history.images for history in histories if history is not None]
            return History(tuple(map(joined, zip(*known, strict=True)))) if known else None

        frames = {
            n: BufferedFrame(
                *(
                    joined(getattr(part.frame_buffer.frames[n], name) for part in states)
                    for name in ("real", "fake", "flow")
                )
            )
            for n in states[0].frame_buffer.frames
        }
        return ClipState(
            whole(part.history for part in states),
            FrameBuffer(states[0].frame_buffer.retained, frames),
            whole(part.teacher_history for part in states),
        )


@dataclass(frozen=True)
class BatchShard:
    """A team's clips of a batch, from number `start` on, and what share of the batch they are."""

    group_models: DeviceGroupModels
    clip: Clip
    offset: int
    weight: float


@dataclass(frozen=True)
class ParallelModels:
    """members: share every batch. replicas: the networks that optimisers move, and their copies."""

    groups: tuple[DeviceGroupModels, ...]
    replicas: ReplicatedNetworks

    def split_batch(self, batch: Clip) -> list[BatchShard]:
        """Equal runs of clips, the last teams without any where there are too few."""
        count = len(batch.names)
        return [
            BatchShard(team, batch.slice_batch(start, stop), start, (stop - start) / count)
            for team, (start, stop) in zip(
                self.groups, split_evenly(count, len(self.groups)), strict=False
            )
        ]


def build_parallel_models(
    device_setup: DeviceSetup,
    networks: Vid2VidModels,
    perceptual_loss: nn.Module | None,
    flow_estimator_for: Callable[[torch.device], FlowEstimator],
    teacher: nn.ModuleList | None = None,
    compiler: FallbackCompiler | None = None,
) -> ParallelModels:
    """networks, perceptual, teacher: at home, where they stay. reference_on: the reference flow for a device. compiler:
    of what works in groups (`--compile`)."""
    frozen = {_PERCEPTUAL_NAME: perceptual_loss, _TEACHER_NAME: teacher}
    masters = networks.named_trainable_networks() | {
        name: network for name, network in frozen.items() if network is not None
    }
    for network in masters.values():
        install_optimized_ops(network)
    replicas = ReplicatedNetworks.create(
        masters, {name: _list_slots(name, device_setup) for name in masters}
    )
    working = (
        replicas.replicas if compiler is None else _compile_replicas(replicas.replicas, compiler)
    )
    return ParallelModels(
        tuple(
            _build_group_models(group, networks, working, flow_estimator_for)
            for group in device_setup.groups
        ),
        replicas,
    )


def _compile_replicas(
    replicas: Mapping[str, ReplicasBySlot], compiler: FallbackCompiler
) -> dict[str, ReplicasBySlot]:
    """All but those that work at home: an encoder's regions are as many as an image has, a teacher is a list."""
    return {
        name: at
        if name in _PRIMARY_SLOT_ONLY
        else {n: compile_network(network, compiler) for n, network in at.items()}
        for name, at in replicas.items()
    }


def _list_slots(name: str, device_setup: DeviceSetup) -> list[DeviceSlot]:
    """Where a network works."""
    if name in _PRIMARY_SLOT_ONLY:
        return [group.primary for group in device_setup.groups]
    return [
        slot
        for group in device_setup.groups
        for slot in (group.generators if optimizer_name(name) == "G" else group.discriminators)
    ]


def _build_group_models(
    group: DeviceGroup,
    networks: Vid2VidModels,
    replicas: Mapping[str, ReplicasBySlot],
    flow_estimator_for: Callable[[torch.device], FlowEstimator],
) -> DeviceGroupModels:
    def at_work(slot: DeviceSlot) -> dict[str, Any]:
        return {name: at[slot.index] for name, at in replicas.items() if slot.index in at}

    def painter(slot: DeviceSlot) -> nn.ModuleList:
        return nn.ModuleList(
            network for name, network in at_work(slot).items() if name.startswith("G")
        )

    def judge(slot: DeviceSlot) -> DiscriminatorReplica:
        at = at_work(slot)
        own = replace(
            networks,
            netG=nn.ModuleList(),
            netE=None,
            netG_ema=None,
            netD=at.get("D"),
            netD_f=at.get("D_f"),
            netD_T=nn.ModuleList(at[f"D_T{s}"] for s in range(len(networks.netD_T))),
        )
        return DiscriminatorReplica(slot.device, own, at.get(_PERCEPTUAL_NAME))

    return DeviceGroupModels(
        group.primary.device,
        tuple(map(painter, group.generators)),
        tuple(map(judge, group.discriminators)),
        at_work(group.primary).get("E"),
        flow_estimator_for(group.primary.device),
        at_work(group.primary).get(_TEACHER_NAME),
    )
