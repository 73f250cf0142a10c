import torch

from tests.tiny import street_clip
from util.distributed import DeviceGroup, DeviceSetup, DeviceSlot
from util.distributed.amp import Precision
from util.distributed.process_group import ProcessGroup


def test_clips_are_pinned_only_for_gpus(monkeypatch) -> None:
    clips, pinned = [street_clip(1, 4, 4)] * 2, []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    for name, count in (("cpu", 0), ("cuda", 6)):
        slot = DeviceSlot(0, torch.device(name))
        placement = DeviceSetup(
            (DeviceGroup(slot, (slot,), (slot,)),), Precision("off", name), ProcessGroup(), ""
        )
        assert len(list(placement.pin_clips(clips))) == 2 and len(pinned) == count


def test_device_to_host_copies_are_synchronized(monkeypatch) -> None:
    """One that is not would be read before it arrives."""
    asked = []
    monkeypatch.setattr(
        torch.Tensor, "to", lambda tensor, _, non_blocking: asked.append(non_blocking) or tensor
    )
    street_clip(1, 4, 4).to(torch.device("cpu"))
    assert set(asked) == {False}
    asked.clear()
    street_clip(1, 4, 4).to(torch.device("cuda"))
    assert set(asked) == {True}
