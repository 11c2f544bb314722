"""A contract as text to keep: a table for pyproject.toml, or Python to paste."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rnn_props.contracts.capabilities import Capabilities
from rnn_props.contracts.contract import Contract
from rnn_props.contracts.domains import Domain
from rnn_props.contracts.structures import Complex, Layers, Record, Structure, structure_text

#: Fields that say what was seen, or that only a person gives.
_LEFT_OUT = ("evidence", "reference", "reference_weights", "rejects")


def to_toml(contract: Contract, target: str) -> str:
    """The contract as a table in that of its target in pyproject.toml: what differs from the defaults.

    `false` stands for none where a shape may be missing.
    """
    default = Contract().to_json()
    lines = [f"[tool.rnn_props.targets.{_toml(target)}.contract]"]
    for name, value in contract.to_json().items():
        if name in _LEFT_OUT or value == default[name]:
            continue
        if name == "capabilities":
            value = {key: item for key, item in value.items() if item != default[name][key]}
        lines.append(f"{name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def from_toml(table: Mapping[str, Any]) -> Contract:
    """The contract of a table that `to_toml` wrote, as `tomllib` reads it.

    Raises:
        KeyError: it has a key that no contract has.
    """
    data = Contract().to_json()
    for name, value in table.items():
        known = data[name]
        data[name] = {**known, **value} if name == "capabilities" else _with_none(value) if name in _OPTIONAL else value
    return Contract.from_json(data)


_OPTIONAL = ("output", "state", "padding", "vocabulary")


def _with_none(value: Any) -> Any:
    if value is False:
        return None
    if isinstance(value, Mapping):
        return {name: _with_none(item) for name, item in value.items()}
    return [_with_none(item) for item in value] if isinstance(value, list) else value


def _toml(value: Any) -> str:
    if value is None:
        return "false"
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(name)} = {_toml(item)}" for name, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    plain = name.replace("_", "").replace("-", "").isalnum() and name.isascii()
    return name if plain else json.dumps(name, ensure_ascii=False)


def to_python(contract: Contract, target: str) -> str:
    """The contract as Python: imports, and `contract = Contract(...)` with what differs from the defaults."""
    location, _, attribute = target.rpartition(":")
    is_file = location.endswith(".py")
    module = location.removesuffix(".py").replace("/", ".").rpartition(".")[2] if is_file else location
    first = attribute.partition(".")[0]
    default = Contract()
    fields: list[str] = [f"build={attribute}"]
    helpers: set[str] = set()
    for name in Contract.__dataclass_fields__:
        value = getattr(contract, name)
        if name in ("build", *_LEFT_OUT) or value == getattr(default, name):
            continue
        fields.append(f"{name}={_python(name, value, helpers)}")
    lines = [f"from {module} import {first}", "from rnn_props import Contract"]
    top = sorted(helpers & {"Capabilities"})
    if top:
        lines[1] = f"from rnn_props import {', '.join([*top, 'Contract'])}"
    rest = sorted(helpers - {"Capabilities"}, key=lambda name: (name.islower(), name))
    if rest:
        lines.append(f"from rnn_props.contracts import {', '.join(rest)}")
    body = "".join(f"    {field},\n" for field in fields)
    return "\n".join(lines) + f"\n\ncontract = Contract(\n{body})\n"


def _python(name: str, value: Any, helpers: set[str]) -> str:
    if name == "state":
        helpers |= _nodes(value)
        return structure_text(value)
    if name == "capabilities":
        helpers.add("Capabilities")
        plain = Capabilities()
        changed = {field: item for field in Capabilities.__dataclass_fields__
                   if (item := getattr(value, field)) != getattr(plain, field)}  # fmt: skip
        return f"Capabilities({', '.join(f'{field}={item!r}' for field, item in changed.items())})"
    if name == "hyperparameters":
        inside = ", ".join(f"{field!r}: {_domain(item, helpers)}" for field, item in value.items())
        return f"{{{inside}}}"
    return repr(dict(value)) if isinstance(value, Mapping) else repr(value)


def _nodes(structure: Structure) -> set[str]:
    names = {type(structure).__name__} if isinstance(structure, Layers | Record | Complex) else set()
    parts: Any = ()
    if isinstance(structure, Layers):
        parts = (structure.item, structure.first)
    elif isinstance(structure, Record):
        parts = structure.fields.values()
    elif isinstance(structure, Mapping):
        parts = structure.values()
    elif isinstance(structure, tuple | list):
        parts = structure
    return names.union(*(_nodes(part) for part in parts))


def _domain(domain: Any, helpers: set[str]) -> str:
    if not isinstance(domain, Domain):
        return repr(domain)
    values = domain.values
    if domain.kind in ("size", "count") and len(values) > 1 and values == tuple(range(values[0], values[-1] + 1)):  # type: ignore[arg-type, operator]
        helpers.add("integers")
        return f"integers({values[0]}, {values[-1]})"
    if domain.kind == "flag" and len(values) == 2:
        helpers.add("booleans")
        return "booleans(simplest=True)" if values[0] else "booleans()"
    names = {"probability": "probabilities", "choice": "choices", "free": "free"}
    if domain.kind in names:
        helpers.add(names[domain.kind])
        return f"{names[domain.kind]}({', '.join(map(repr, values))})"
    helpers.add("Domain")
    return f"Domain({domain.kind!r}, {values!r})"
