"""What a configuration says of a contract, in the place of what was inferred."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields, replace

from rnn_props.config import Config, TargetConfig
from rnn_props.contracts.capabilities import Capabilities
from rnn_props.contracts.contract import ROLE_NAMES, Contract
from rnn_props.contracts.domains import Domain, Value, free
from rnn_props.contracts.shapes import ShapeRuleError
from rnn_props.contracts.structures import parse_structure
from rnn_props.contracts.written import from_toml


def check_declared(config: Config) -> None:
    """Refuse what a configuration says of contracts and no contract can have.

    Raises:
        ConfigError: a capability is not known or of another type, or a shape rule can't be read.
    """
    known = {item.name: item.default for item in fields(Capabilities)}
    for target, said in config.targets.items():
        for name, value in said.capabilities.items():
            place = ("targets", target, "capabilities", name)
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                closest = f" (did you mean '{near[0]}'?)" if near else ""
                raise config.error(place, f"is not a capability{closest}; there are {', '.join(sorted(known))}")
            if isinstance(value, bool) != isinstance(known[name], bool):
                kind = "true or false" if isinstance(known[name], bool) else "a list of texts"
                raise config.error(place, f"must be {kind} (got {value!r})")
        whole_contract(config, target)
        for key in ("input", "output", "state"):
            if key in said.parts:
                try:
                    parse_structure(said.parts[key])
                except ShapeRuleError as error:
                    raise config.error(("targets", target, key), f"is not a shape rule: {error}") from None


def whole_contract(config: Config, target: str) -> Contract | None:
    """The contract that a configuration has for a target, if it has a whole one.

    Raises:
        ConfigError: it can't be read.
    """
    said = config.targets[target]
    if not said.whole:
        return None
    place = ("targets", target, "contract")
    try:
        return from_toml(said.whole)
    except KeyError as error:
        name = str(error.args[0])
        near = difflib.get_close_matches(name, Contract().to_json(), 1)
        closest = f" (did you mean '{near[0]}'?)" if near else ""
        raise config.error((*place, name), f"is no part of a contract{closest}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise config.error(place, f"can't be read: {error}; 'rnn-props infer {target} --toml' writes one") from None


def with_declared(contract: Contract, said: TargetConfig) -> Contract:
    """The contract with what a configuration says of it; what it does not speak of stays."""
    domains, roles, fixed = dict(contract.hyperparameters), dict(contract.roles), dict(contract.fixed)
    for name, values in said.hyperparameters.items():
        known = domains.get(name)
        domains[name] = Domain(known.kind if isinstance(known, Domain) else "free", tuple(values))
        fixed.pop(name, None)
        role = _role(name)
        if role is not None:
            roles.setdefault(role, name)
    said_of = [*said.hyperparameters, *said.parts, *said.capabilities]
    if not said_of:
        return contract
    changed = replace(
        contract,
        hyperparameters=domains,
        roles=roles,
        fixed=fixed,
        capabilities=replace(contract.capabilities, **said.capabilities),
        **said.parts,
    )
    return changed.with_evidence(f"said in the configuration: {', '.join(said_of)}")


def with_fixed(contract: Contract, fixed: Mapping[str, Value]) -> Contract:
    """The contract with the user's arguments held at their values."""
    if not fixed:
        return contract
    domains, others = dict(contract.hyperparameters), dict(contract.fixed)
    for name, value in fixed.items():
        if name in domains:
            domain = domains[name]
            domains[name] = Domain(domain.kind, (value,)) if isinstance(domain, Domain) else free(value)
        else:
            others[name] = value
    text = ", ".join(f"{name}={value!r}" for name, value in fixed.items())
    return replace(contract, hyperparameters=domains, fixed=others).with_evidence(f"held at your values: {text}")


def _role(name: str) -> str | None:
    return next((role for role, names in ROLE_NAMES.items() if name in names), None)
