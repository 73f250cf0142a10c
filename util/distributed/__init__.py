"""Devices, device groups, processes and precision; no other package chooses them."""

from util.distributed.devices import DeviceGroup, DeviceSlot
from util.distributed.setup import DeviceConfig, DeviceSetup, setup_devices

__all__ = ["DeviceGroup", "DeviceSetup", "DeviceConfig", "DeviceSlot", "setup_devices"]
