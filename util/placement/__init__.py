"""The only place that knows devices, groups of them, processes and precision. The rest of the program asks it."""

from util.placement.choice import Placement, PlacementConfig, place
from util.placement.devices import Group, Slot

__all__ = ["Group", "Placement", "PlacementConfig", "Slot", "place"]
