"""Where it runs: the devices that there are, by name, and `sim`, a simulated accelerator (`rnn_props.devices.sim`)."""

from rnn_props.devices.names import Device, DeviceNameError, available, choose, kind_of, parse, why_not
from rnn_props.devices.use import give_back, is_crowded, move, seed, set_up, why_lost

#: The device that is always there.
CPU = Device("cpu", "cpu")

__all__ = [
    "CPU",
    "Device",
    "DeviceNameError",
    "available",
    "choose",
    "give_back",
    "is_crowded",
    "kind_of",
    "move",
    "parse",
    "seed",
    "set_up",
    "why_lost",
    "why_not",
]
