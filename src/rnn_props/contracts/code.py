"""Python source of data and contracts, laid out as formatters lay it out: on one line where it fits, else one item a
line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from rnn_props.contracts.capabilities import Capabilities
from rnn_props.contracts.contract import Contract
from rnn_props.contracts.domains import Domain
from rnn_props.contracts.structures import Complex, Layers, Record

#: The width that black and ruff have by default.
WIDTH = 88


@dataclass(frozen=True, slots=True)
class Call:
    """The source of a call: positional arguments, then keywords."""

    name: str
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] | None = None


class Name:
    """A name in source code."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


def source(value: Any, indent: int = 0, *, prefix: str = "", suffix: str = "") -> str:
    """The source of a value.

    Args:
        value: data of Python's, or a `Call`.
        indent: of the line that it stands on.
        prefix, suffix: what else is on its first and last line, such as `name=` and a comma.
    """
    flat = _flat(value)
    if indent + len(prefix) + len(flat) + len(suffix) <= WIDTH:
        return f"{prefix}{flat}{suffix}"
    opening, items, closing = _parts(value)
    if not items:
        return f"{prefix}{flat}{suffix}"
    inner = " " * (indent + 4)
    lines = [inner + source(item, indent + 4, prefix=label, suffix=",") for label, item in items]
    return "\n".join([f"{prefix}{opening}", *lines, f"{' ' * indent}{closing}{suffix}"])


def _flat(value: Any) -> str:
    if isinstance(value, str):
        return repr(value) if '"' in value and "'" not in value else json.dumps(value, ensure_ascii=False)
    opening, items, closing = _parts(value)
    if not opening:
        return repr(value)
    inside = ", ".join(f"{label}{_flat(item)}" for label, item in items)
    comma = "," if isinstance(value, tuple) and len(items) == 1 else ""
    return f"{opening}{inside}{comma}{closing}"


def _parts(value: Any) -> tuple[str, list[tuple[str, Any]], str]:
    """What a value opens with, its items with what stands before each, and what it closes with."""
    match value:
        case Call():
            keywords = [(f"{name}=", item) for name, item in (value.keywords or {}).items()]
            return f"{value.name}(", [*(("", item) for item in value.arguments), *keywords], ")"
        case Mapping():
            return "{", [(f"{_flat(key)}: ", item) for key, item in value.items()], "}"
        case tuple():
            return "(", [("", item) for item in value], ")"
        case list():
            return "[", [("", item) for item in value], "]"
        case _:
            return "", [], ""


def contract_call(contract: Contract) -> Call:
    """The call that makes a contract, without what only says from what it was concluded.

    Raises:
        ValueError: a strategy draws one of its hyperparameters; a file can't say which.
    """
    plain = Contract()
    keywords: dict[str, Any] = {}
    for item in fields(Contract):
        value, default = getattr(contract, item.name), getattr(plain, item.name)
        if item.name in ("build", "evidence", "capabilities", "rejects") or value == default:
            continue
        keywords[item.name] = dict(value) if isinstance(value, Mapping) else value
    for name, domain in contract.hyperparameters.items():
        keywords["hyperparameters"][name] = _domain(name, domain)
    if contract.state is not None:
        keywords["state"] = _structure(contract.state)
    capabilities = {
        item.name: getattr(contract.capabilities, item.name)
        for item in fields(Capabilities)
        if getattr(contract.capabilities, item.name) != getattr(plain.capabilities, item.name)
    }
    if capabilities:
        keywords["capabilities"] = Call("Capabilities", keywords=capabilities)
    return Call("Contract", keywords=keywords)


def _structure(structure: Any) -> Any:
    """A state's structure, its nodes as the calls that make them."""
    if isinstance(structure, Layers | Record | Complex):
        given = {item.name: getattr(structure, item.name) for item in fields(structure)}
        first, *others = (item for item in fields(structure))
        changed = {item.name: _structure(given[item.name]) for item in others if given[item.name] != item.default}
        return Call(type(structure).__name__, (_structure(given[first.name]),), changed)
    if isinstance(structure, Mapping):
        return {name: _structure(item) for name, item in structure.items()}
    if isinstance(structure, tuple | list):
        return type(structure)(_structure(item) for item in structure)
    return structure


def _domain(name: str, domain: Any) -> Call:
    if not isinstance(domain, Domain):
        raise ValueError(f"the values of {name} are drawn by a strategy, which a file can't hold: give it a domain")
    values = domain.values
    if domain.kind in ("size", "count"):
        numbers = [value for value in values if type(value) is int]
        whole = len(numbers) == len(values) and numbers == list(range(numbers[0], numbers[-1] + 1))
        if whole and (domain.kind == "size") == (numbers[0] >= 1):
            return Call("integers", (numbers[0], numbers[-1]))
    if domain.kind == "flag" and set(values) == {True, False}:
        return Call("booleans", keywords={"simplest": True} if values[0] else None)
    if domain.kind == "probability":
        return Call("probabilities", values)
    if domain.kind == "choice":
        return Call("choices", values)
    if domain.kind == "free":
        return Call("free", values)
    return Call("Domain", (domain.kind, values))


def names_used(value: Any) -> set[str]:
    """The names of all calls in a value."""
    if isinstance(value, Call):
        inside = [*value.arguments, *(value.keywords or {}).values()]
        return {value.name}.union(*map(names_used, inside))
    if isinstance(value, Mapping):
        return set().union(*map(names_used, value.values()))
    return set().union(*map(names_used, value)) if isinstance(value, tuple | list) else set()
