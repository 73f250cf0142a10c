import torch

from tests.tiny import street_clip
from util.placement import Group, Placement, Slot
from util.placement.precision import Precision
from util.placement.processes import Processes


def test_clips_are_pinned_for_gpus_alone(monkeypatch) -> None:
    clips, pinned = [street_clip(1, 4, 4)] * 2, []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    for name, count in (("cpu", 0), ("cuda", 6)):
        slot = Slot(0, torch.device(name))
        placement = Placement((Group(slot, (slot,), (slot,)),), Precision("off", name), Processes(), "")
        assert len(list(placement.pinned(clips))) == 2 and len(pinned) == count


def test_copies_to_the_host_are_waited_for(monkeypatch) -> None:
    """One that is not would be read before it arrives."""
    asked = []
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, _, non_blocking: asked.append(non_blocking) or tensor)
    street_clip(1, 4, 4).to(torch.device("cpu"))
    assert set(asked) == {False}
    asked.clear()
    street_clip(1, 4, 4).to(torch.device("cuda"))
    assert set(asked) == {True}
