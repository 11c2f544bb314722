"""What a configuration says of a contract, in the place of what was inferred."""

from __future__ import annotations

import difflib
from dataclasses import fields, replace

from rnn_props.config import Config, TargetConfig
from rnn_props.contracts.contract import ROLE_NAMES, Capabilities, Contract
from rnn_props.contracts.domains import Domain
from rnn_props.contracts.shapes import ShapeRuleError
from rnn_props.contracts.structures import parse_structure


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
        for key in ("input", "output", "state"):
            if key in said.contract:
                try:
                    parse_structure(said.contract[key])
                except ShapeRuleError as error:
                    raise config.error(("targets", target, key), f"is not a shape rule: {error}") from None


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
    said_of = [*said.hyperparameters, *said.contract, *said.capabilities]
    if not said_of:
        return contract
    changed = replace(
        contract,
        hyperparameters=domains,
        roles=roles,
        fixed=fixed,
        capabilities=replace(contract.capabilities, **said.capabilities),
        **said.contract,
    )
    return changed.with_evidence(f"said in the configuration: {', '.join(said_of)}")


def _role(name: str) -> str | None:
    return next((role for role, names in ROLE_NAMES.items() if name in names), None)
