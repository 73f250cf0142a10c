"""Tests of the copies of clips between host and devices."""

import torch

from tests.tiny import street_clip
from util.distributed import DeviceGroup, DeviceSetup, DeviceSlot
from util.distributed.amp import Precision
from util.distributed.process_group import ProcessGroup


def test_clips_are_pinned_only_for_gpus(monkeypatch) -> None:
    clips, pinned = [street_clip(1, 4, 4)] * 2, []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    for device_type, n_pinned in (("cpu", 0), ("cuda", 6)):
        slot = DeviceSlot(0, torch.device(device_type))
        groups = (DeviceGroup(slot, (slot,), (slot,)),)
        device_setup = DeviceSetup(groups, Precision("off", device_type), ProcessGroup(), "")
        assert len(list(device_setup.pin_clips(clips))) == 2 and len(pinned) == n_pinned


def test_device_to_host_copies_are_synchronized(monkeypatch) -> None:
    """A copy to the host that does not block would be read before it is complete."""
    non_blocking_flags = []

    def record_copy(tensor, _, non_blocking):
        non_blocking_flags.append(non_blocking)
        return tensor

    monkeypatch.setattr(torch.Tensor, "to", record_copy)
    street_clip(1, 4, 4).to(torch.device("cpu"))
    assert set(non_blocking_flags) == {False}
    non_blocking_flags.clear()
    street_clip(1, 4, 4).to(torch.device("cuda"))
    assert set(non_blocking_flags) == {True}
