"""A contract as text to keep: a table for pyproject.toml, or Python to paste."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rnn_props.contracts.code import Call, Name, contract_call, names_used, source
from rnn_props.contracts.contract import Contract

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
    """The contract as Python: imports, and `contract = Contract(...)` with what differs from the defaults.

    Raises:
        ValueError: a strategy draws one of its hyperparameters; text can't say which.
    """
    location, _, attribute = target.rpartition(":")
    is_file = location.endswith(".py")
    module = location.removesuffix(".py").replace("/", ".").rpartition(".")[2] if is_file else location
    plain = replace(contract, reference=None, reference_weights={})
    call = contract_call(plain)
    call = Call(call.name, keywords={"build": Name(attribute), **(call.keywords or {})})
    names = names_used(call) - {call.name}
    imports = [f"from {module} import {attribute.partition('.')[0]}"]
    imports.append(f"from rnn_props import {', '.join([*sorted(names & {'Capabilities'}), 'Contract'])}")
    if rest := sorted(names - {"Capabilities"}, key=lambda name: (name.islower(), name)):
        imports.append(f"from rnn_props.contracts import {', '.join(rest)}")
    return "\n".join([*imports, "", source(call, prefix="contract = ")]) + "\n"
