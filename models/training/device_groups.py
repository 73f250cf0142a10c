"""Run a forward pass on several devices, as DistributedDataParallel runs a module.

A device group works on the same clips: its generators generate a window's frames one after the
other, and its discriminators share the frames. Several groups share the clips of a batch. Networks
are replicated: the primaries, on the first device, are what optimizers, checkpoints and evaluation
know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.flow import FlowEstimator
from models.losses.temporal_groups import BufferedFrame, FrameBuffer, FrameGroups
from models.losses.vid2vid import (
    GeneratedWindow,
    LossConfig,
    Losses,
    PerceptualDistance,
    average_losses,
)
from models.networks.collection import Vid2VidModels, optimizer_name
from models.networks.pix2pixhd import Encoder
from models.networks.rollout import History, rollout_across_devices
from models.ops.compile import FallbackCompiler, compile_network
from models.ops.install import install_optimized_ops
from models.training.forward import (
    ClipState,
    LossesByOptimizer,
    Rollout,
    StepOutput,
    WindowForward,
    WindowLosses,
)
from models.training.schedule import EpochSettings
from util.clip import Clip
from util.distributed import DeviceGroup, DeviceSetup, DeviceSlot
from util.distributed.amp import Precision
from util.distributed.optimizer import AmpOptimizer
from util.distributed.process_group import ProcessGroup
from util.distributed.replicas import ReplicasBySlot, ReplicatedNetworks, split_evenly

_PERCEPTUAL, _TEACHER = "VGG", "teacher"
_PRIMARY_SLOT_ONLY = ("E", _TEACHER)  # networks that run once per group, on its first slot


@dataclass(frozen=True)
class SplitWindowLosses:
    """The losses of a window, with its frames and frame groups split over replicas.

    Has the methods of `WindowLosses`, and returns the same values up to rounding.

    Attributes:
        device: Device of the results.
        replicas: The losses on each discriminator device.
    """

    device: torch.device
    replicas: tuple[tuple[torch.device, WindowLosses], ...]

    def frame_losses(self, window: GeneratedWindow) -> Losses:
        """Compute `WindowLosses.frame_losses`; each replica scores a run of frames."""
        parts = []
        chunks = split_evenly(len(window), len(self.replicas))
        for (device, losses), (start, stop) in zip(self.replicas, chunks, strict=False):
            part = losses.frame_losses(window.slice_frames(start, stop).to(device))
            parts.append((part, (stop - start) / len(window)))
        return average_losses(parts, self.device)

    def face_losses(self, window: GeneratedWindow) -> Losses:
        """Compute `WindowLosses.face_losses` on the first replica.

        The window is not split: the square depends on all of its frames.
        """
        device, losses = self.replicas[0]
        return losses.face_losses(window.to(device)).to(self.device)

    def group_losses(self, groups: FrameGroups, flow: Tensor, scale: int) -> Losses:
        """Compute `WindowLosses.group_losses`; each replica scores a run of groups.

        Most windows have one group per scale. Scale s starts with replica s, to spread the load.
        """
        parts = []
        n_groups = len(groups.frame_numbers)
        for i, (start, stop) in enumerate(split_evenly(n_groups, len(self.replicas))):
            device, losses = self.replicas[(i + scale) % len(self.replicas)]
            part = losses.group_losses(
                _slice_groups(groups, start, stop, device),
                flow[:, start:stop].to(device, non_blocking=True),
                scale,
            )
            parts.append((part, (stop - start) / n_groups))
        return average_losses(parts, self.device)


def _slice_groups(groups: FrameGroups, start: int, stop: int, device: torch.device) -> FrameGroups:
    def select(x: Tensor) -> Tensor:
        return x[:, start:stop].to(device, non_blocking=True)

    return FrameGroups(
        groups.frame_numbers[start:stop],
        select(groups.real),
        select(groups.fake),
        select(groups.flow),
    )


@dataclass(frozen=True)
class GroupReplicas:
    """The networks of one device group.

    Attributes:
        device: Device of the group's clips and results.
        generators: The generators on each generator slot.
        discriminators: netD, netD_T and netD_f on each discriminator slot; other fields are unset.
        perceptual_losses: The perceptual loss on each discriminator slot, or None.
        netE: The instance feature encoder, or None.
        teacher: The distillation teacher, or None.
        flow_estimator: The reference flow on this device.
    """

    device: torch.device
    generators: tuple[nn.ModuleList, ...]
    discriminators: tuple[tuple[torch.device, Vid2VidModels], ...]
    perceptual_losses: tuple[PerceptualDistance | None, ...]
    netE: Encoder | None
    teacher: nn.ModuleList | None
    flow_estimator: FlowEstimator

    @property
    def rollout(self) -> Rollout:
        """Return the rollout of the generators; each generates a run of a window's frames."""
        return partial(rollout_across_devices, self.generators)

    def build_losses(self, config: LossConfig) -> SplitWindowLosses:
        """Return the losses of the group's discriminators."""
        replicas = []
        pairs = zip(self.discriminators, self.perceptual_losses, strict=True)
        for (device, networks), perceptual_loss in pairs:
            assert networks.netD is not None
            losses = WindowLosses(
                networks.netD,
                tuple(networks.netD_T),
                networks.netD_f,
                perceptual_loss,
                config,
            )
            replicas.append((device, losses))
        return SplitWindowLosses(self.device, tuple(replicas))


@dataclass(frozen=True)
class ParallelForward:
    """A forward pass that shares each batch among device groups.

    Attributes:
        forwards: The forward pass of each group.
        devices: The device of each group; the losses are on the first one.
        replicas: The networks that optimizers update, and their replicas.
        precision: Mixed precision of the forward pass.
        process_group: The processes among which gradients are averaged.
    """

    forwards: tuple[WindowForward, ...]
    devices: tuple[torch.device, ...]
    replicas: ReplicatedNetworks
    precision: Precision
    process_group: ProcessGroup

    def __call__(
        self, window: Clip, state: Sequence[Any] | None, settings: EpochSettings
    ) -> StepOutput:
        """Run the forward pass of a window on all groups and average their losses.

        The images of the output are those of the first group. On GPUs the groups overlap, since kernels
        are launched asynchronously.

        Args:
            window: The window of the whole batch.
            state: The state of each group, None at a clip's start.
            settings: The epoch's settings.
        """
        # The optimizers have updated the primaries.
        self.replicas.broadcast_parameters()
        n_clips = len(window.names)
        chunks = split_evenly(n_clips, len(self.forwards))
        outputs = []
        for i, (start, stop) in enumerate(chunks):
            shard = window.slice_batch(start, stop).to(self.devices[i])
            group_state = None if state is None else state[i]
            with self.precision.autocast():
                outputs.append(self.forwards[i](shard, group_state, settings))
        weights = [(stop - start) / n_clips for start, stop in chunks]
        return StepOutput(
            losses=self._average_by_optimizer([output.losses for output in outputs], weights),
            # The next window continues from these values; it does not backpropagate into this one.
            state=tuple(output.state.apply(torch.detach) for output in outputs),
            fake=outputs[0].fake,
            real=outputs[0].real,
            generated=outputs[0].generated,
        )

    def _average_by_optimizer(
        self, losses: Sequence[LossesByOptimizer], weights: Sequence[float]
    ) -> LossesByOptimizer:
        return {
            name: average_losses(
                [(part[name], weight) for part, weight in zip(losses, weights, strict=True)],
                self.devices[0],
            )
            for name in losses[0]
        }

    def backward(self, loss: Tensor, optimizer: AmpOptimizer, networks: Sequence[str]) -> None:
        """Compute the gradients of some networks: summed over replicas, averaged over processes.

        The losses of a group are already weighted by its share of the batch.

        The graph is kept for the losses of other networks.

        Args:
            loss: What the optimizer minimizes.
            optimizer: The optimizer of these networks.
            networks: Their names.
        """
        parameters = [weight for name in networks for weight in self.replicas.parameters(name)]
        optimizer.zero_grad()
        optimizer.backward(loss, parameters)
        self.replicas.reduce_gradients(networks)
        primaries = [self.replicas.primaries[name] for name in networks]
        self.process_group.all_reduce_gradients(primaries)
        optimizer.unscale()

    def visualize(self, window: Clip, output: StepOutput) -> dict[str, np.ndarray]:
        """Return images of the first clip, by name."""
        return self.forwards[0].visualize(window, output)

    def split_state(self, state: ClipState, n_clips: int) -> tuple[ClipState, ...]:
        """Distribute the state of a whole batch over the groups: the inverse of `join_states`."""
        chunks = split_evenly(n_clips, len(self.forwards))
        return tuple(
            state.apply(partial(_slice_batch, start=start, stop=stop, device=device))
            for (start, stop), device in zip(chunks, self.devices, strict=False)
        )


def _slice_batch(x: Tensor, start: int, stop: int, device: torch.device) -> Tensor:
    return x[start:stop].to(device)


def join_states(states: Sequence[ClipState]) -> ClipState:
    """Return the state of the whole batch, on the CPU, without gradient."""
    buffers = [state.frame_buffer for state in states if state.frame_buffer is not None]
    frame_buffer = None
    if buffers:
        frames = {
            number: BufferedFrame(
                real=_join(buffer.frames[number].real for buffer in buffers),
                fake=_join(buffer.frames[number].fake for buffer in buffers),
                flow=_join(buffer.frames[number].flow for buffer in buffers),
            )
            for number in buffers[0].frames
        }
        frame_buffer = FrameBuffer(buffers[0].retained, frames)
    return ClipState(
        history=_join_histories([state.history for state in states]),
        frame_buffer=frame_buffer,
        teacher_history=_join_histories([state.teacher_history for state in states]),
        n_generated=states[0].n_generated,
    )


def _join_histories(histories: Sequence[History | None]) -> History | None:
    scales = [history.images for history in histories if history is not None]
    return History(tuple(map(_join, zip(*scales, strict=True)))) if scales else None


def _join(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().cpu() for tensor in tensors])


def build_parallel_forward(
    device_setup: DeviceSetup,
    networks: Vid2VidModels,
    perceptual_loss: nn.Module | None,
    build_flow_estimator_on: Callable[[torch.device], FlowEstimator],
    build_forward: Callable[[GroupReplicas], WindowForward],
    teacher: nn.ModuleList | None = None,
    compiler: FallbackCompiler | None = None,
) -> ParallelForward:
    """Replicate the networks over the device groups and build the forward pass of each group.

    Args:
        device_setup: The device groups, and their precision.
        networks: The primaries, on the first device. They stay there.
        perceptual_loss: On the first device; None for none.
        build_flow_estimator_on: Builds the reference flow for a device.
        build_forward: Builds the forward pass of one group.
        teacher: The distillation teacher, on the first device.
        compiler: Compiles generators, discriminators and the perceptual loss (`--compile`).
    """
    frozen = {_PERCEPTUAL: perceptual_loss, _TEACHER: teacher}
    primaries = networks.named_trainable_networks() | {
        name: network for name, network in frozen.items() if network is not None
    }
    for network in primaries.values():
        install_optimized_ops(network)
    replicas = ReplicatedNetworks.create(
        primaries, {name: _list_slots(name, device_setup) for name in primaries}
    )
    by_slot = replicas.replicas
    if compiler is not None:
        by_slot = _compile_replicas(by_slot, compiler)
    groups = [
        _build_group(group, networks, by_slot, build_flow_estimator_on)
        for group in device_setup.groups
    ]
    return ParallelForward(
        forwards=tuple(build_forward(group) for group in groups),
        devices=tuple(group.device for group in groups),
        replicas=replicas,
        precision=device_setup.precision,
        process_group=device_setup.process_group,
    )


def _list_slots(name: str, device_setup: DeviceSetup) -> list[DeviceSlot]:
    """Return the device slots where a network runs."""
    if name in _PRIMARY_SLOT_ONLY:
        return [group.primary for group in device_setup.groups]
    if optimizer_name(name) == "G":  # all others, VGG among them, run beside the discriminators
        return [slot for group in device_setup.groups for slot in group.generators]
    return [slot for group in device_setup.groups for slot in group.discriminators]


def _compile_replicas(
    by_slot: Mapping[str, ReplicasBySlot], compiler: FallbackCompiler
) -> dict[str, ReplicasBySlot]:
    """Compile what runs on every slot.

    The encoder is not compiled, since the number of regions differs from image to image; nor is the
    teacher, which is a list of networks.
    """
    return {
        name: slots
        if name in _PRIMARY_SLOT_ONLY
        else {index: compile_network(network, compiler) for index, network in slots.items()}
        for name, slots in by_slot.items()
    }


def _build_group(
    group: DeviceGroup,
    networks: Vid2VidModels,
    by_slot: Mapping[str, ReplicasBySlot],
    build_flow_estimator_on: Callable[[torch.device], FlowEstimator],
) -> GroupReplicas:
    def networks_on(slot: DeviceSlot) -> dict[str, Any]:
        return {name: slots[slot.index] for name, slots in by_slot.items() if slot.index in slots}

    def generators_on(slot: DeviceSlot) -> nn.ModuleList:
        return nn.ModuleList(
            network for name, network in networks_on(slot).items() if name.startswith("G")
        )

    def discriminators_on(slot: DeviceSlot) -> tuple[torch.device, Vid2VidModels]:
        local = networks_on(slot)
        netD_T = nn.ModuleList(local[f"D_T{scale}"] for scale in range(len(networks.netD_T)))
        models = replace(
            networks,
            netG=nn.ModuleList(),
            netD=local.get("D"),
            netD_T=netD_T,
            netD_f=local.get("D_f"),
            netE=None,
            netG_ema=None,
        )
        return slot.device, models

    primary = networks_on(group.primary)
    return GroupReplicas(
        device=group.primary.device,
        generators=tuple(generators_on(slot) for slot in group.generators),
        discriminators=tuple(discriminators_on(slot) for slot in group.discriminators),
        perceptual_losses=tuple(
            networks_on(slot).get(_PERCEPTUAL) for slot in group.discriminators
        ),
        netE=primary.get("E"),
        teacher=primary.get(_TEACHER),
        flow_estimator=build_flow_estimator_on(group.primary.device),
    )
