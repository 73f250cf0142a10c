"""The only place that knows devices, groups of them, processes and precision. The rest of the program asks it."""

from util.distributed.devices import DeviceGroup, DeviceSlot
from util.distributed.setup import DeviceConfig, DeviceSetup, setup_devices

__all__ = ["DeviceGroup", "DeviceSetup", "DeviceConfig", "DeviceSlot", "setup_devices"]
