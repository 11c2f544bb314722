"""What is run: checks on devices, and in what order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rnn_props.checks import Check
from rnn_props.checks import get as get_check
from rnn_props.checks.registry import explaining
from rnn_props.devices import Device, kind_of
from rnn_props.execution.outcomes import result_key


@dataclass(frozen=True, slots=True)
class Item:
    """One check on one device."""

    check: Check
    device: str

    @property
    def key(self) -> str:
        return result_key(self.check.code, self.device)

    def __str__(self) -> str:
        return f"{self.check.code}-{self.check.name}-{self.device}"


def items_of(checks: Sequence[Check], devices: Sequence[Device]) -> list[Item]:
    """Every check on every device that it runs on."""
    return [Item(check, device.name) for device in devices for check in checks if device.kind in check.on]


def on_device(check: Check, device: str) -> Item:
    """A check that one on a device rests on: on that device where it runs there, or else on the CPU; what runs on
    accelerators alone is on the simulated one for a check on the CPU."""
    if kind_of(device) in check.on:
        return Item(check, device)
    return Item(check, "cpu" if "cpu" in check.on else "sim")


def before(item: Item) -> list[str]:
    """The keys of what a check rests on, and of what would explain its failure."""
    checks = [*map(get_check, item.check.after), *map(get_check, explaining(item.check))]
    keys = [on_device(check, item.device).key for check in checks]
    return keys if item.device == "cpu" else [*keys, Item(item.check, "cpu").key]


def with_prerequisites(chosen: Sequence[Item]) -> list[Item]:
    """The checks and all that they rest on, each after what it rests on and what explains it."""
    wanted: dict[str, Item] = {}

    def want(item: Item) -> None:
        if item.key not in wanted:
            wanted[item.key] = item
            for code in item.check.after:
                want(on_device(get_check(code), item.device))

    for item in chosen:
        want(item)
    ordered: dict[str, Item] = {}

    def add(key: str) -> None:
        if key in wanted and key not in ordered:
            for other in before(wanted[key]):
                add(other)
            ordered[key] = wanted[key]

    for key in wanted:
        add(key)
    return list(ordered.values())


def with_all_before(chosen: Sequence[Item], ordered: Sequence[Item]) -> list[Item]:
    """Of checks in order, the chosen ones and all that come before them because they rest on them or explain them."""
    wanted = {item.key for item in chosen}
    for item in reversed(ordered):
        if item.key in wanted:
            wanted |= set(before(item))
    return [item for item in ordered if item.key in wanted]
