"""Constructor arguments: which part each plays, from which values it is drawn, and the simplest ones that build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from rnn_props.contracts import Contract, Domain, Value, booleans, free, integers, probabilities
from rnn_props.inference.names import USUAL_VALUES
from rnn_props.inference.signature import Parameter, Signatures, role_of
from rnn_props.subjects import Factory, TargetRaisedError, UnusableResultError
from rnn_props.targets import TargetError

#: Sizes of the probing calls, all different.
SIZES: Mapping[str, int] = {"input_size": 3, "hidden_size": 5, "output_size": 7, "vocab_size": 17}
#: The two sizes of a call, different from those above.
FIRST, SECOND = 11, 13
#: Sizes that are tried where small ones do not build, for modules that want powers of two or multiples of a head count.
_LARGER = (8, 12, 16, 24, 32, 48, 64, 128)
_WIDTHS = ((5,), (5, 4), (2, 6, 3))
#: Numbers of token ids, all with room for several that differ.
_VOCABULARIES = (4, 5, 8, 17)


def configure(signatures: Signatures, fixed: Mapping[str, Value]) -> Contract:
    """A contract with what the constructor's signature says, and nothing else.

    Raises:
        TargetError: an argument must be given, and nothing says what it is.
    """
    domains: dict[str, Any] = {}
    roles: dict[str, str] = {}
    held = dict(fixed)
    evidence: list[str] = []
    for item in signatures.constructor:
        role = role_of(item.name)
        free_role = role is not None and role not in roles
        if item.name in fixed:
            if role is not None and free_role:
                roles[role] = item.name
                domains[item.name] = Domain("free", (held.pop(item.name),))
            continue
        domain = _domain(role, item) if role is not None and free_role else None
        if role is not None and domain is not None:
            roles[role] = item.name
            domains[item.name] = domain
        elif item.required and item.name not in ("device", "dtype"):
            usual = USUAL_VALUES.get(item.name)
            if usual is None:
                raise TargetError(_unknown(item))
            domains[item.name] = free(*usual)
            evidence.append(f"{item.name} is tried with usual values: {', '.join(map(repr, usual))}")
    given = ", ".join(f"{argument} is {role}" for role, argument in roles.items()) or "none that is known"
    contract = Contract(hyperparameters=domains, fixed=held, roles=roles)
    return contract.with_evidence(f"constructor arguments by name: {given}", *evidence)


def _unknown(item: Parameter) -> str:
    needs = f"its constructor needs '{item.name}'"
    kind = item.annotation.removeprefix("<class '").removesuffix("'>").rpartition(".")[2]
    if kind[:1].isupper() and "[" not in item.annotation:
        return (
            f"{needs}, of type {kind}: write a function that makes the module from plain sizes, such as "
            f"def make(hidden_size): return Module({kind}(...)), and name that as the target"
        )
    return f"{needs}, and the name does not say what it is; give a value with --arg {item.name}=VALUE"


def _domain(role: str, item: Parameter) -> Domain | None:
    default = item.default
    if role == "hidden_size" and _is_list(item):
        return free(*_WIDTHS)
    if role in ("input_size", "hidden_size", "output_size"):
        return integers(1, 7) if item.required or default is None or type(default) is int else None
    if role == "vocab_size":
        return Domain("size", _VOCABULARIES) if item.required or type(default) is int else None
    if role == "num_layers":
        return integers(1, 3) if item.required or type(default) is int else None
    if role in ("bias", "bidirectional", "batch_first"):
        return booleans(simplest=bool(default)) if isinstance(default, bool) or item.required else None
    if role == "dropout":
        return probabilities(0.0, 0.5)
    if role == "proj_size":
        return None if not item.required else integers(1, 3)
    return None if not item.required else free("tanh", "relu") if role == "nonlinearity" else None


def _is_list(item: Parameter) -> bool:
    annotation = item.annotation.lower()
    if isinstance(item.default, tuple | list):
        return True
    if any(word in annotation for word in ("sequence", "list", "tuple", "iterable")):
        return True
    return not annotation and item.default is None and item.name.endswith(("sizes", "dims", "layers"))


def simplest(contract: Contract) -> dict[str, Any]:
    """The simplest hyperparameters, sizes pairwise different as far as their domains allow it."""
    drawn: dict[str, Any] = {}
    used: set[Any] = {FIRST, SECOND}
    for name, domain in contract.hyperparameters.items():
        role = next((role for role, argument in contract.roles.items() if argument == name), "")
        if not isinstance(domain, Domain):
            raise TargetError(f"the contract draws '{name}' from a strategy, which can't be probed")
        values = domain.values
        drawn[name] = values[0]
        if role in SIZES and len(values) > 1 and type(values[0]) is int:
            fresh = [value for value in values if value not in used and isinstance(value, int) and value > 2]
            drawn[name] = SIZES[role] if SIZES[role] in values else next(iter(fresh), values[-1])
            used.add(drawn[name])
        elif role == "batch_first" and len(values) > 1:
            drawn[name] = False
    for constraint in contract.constraints:
        one, relation, two = constraint.split()
        if relation == "==" and one in drawn and two in drawn:
            drawn[one] = drawn[two]
    return drawn


def that_build(target: Any, contract: Contract) -> Contract:
    """The contract with its domains cut down to the values that build, each beside the simplest others.

    Where the small sizes do not build at all, larger ones are tried: some modules want powers of two, or a width that a
    head count divides.
    """
    factory = Factory(target, contract)
    base = simplest(contract)
    first = _refusal(factory, base)
    if first is not None:
        for name, domain in contract.hyperparameters.items():
            if isinstance(domain, Domain) and domain.kind == "free" and len(domain.values) > 1:
                fits = [value for value in domain.values if _refusal(factory, {**base, name: value}) is None]
                if fits:
                    base, first = {**base, name: fits[0]}, None
                    domains = {**contract.hyperparameters, name: free(*fits)}
                    contract = replace(contract, hyperparameters=domains)
                    break
    if first is not None and (equal := _equal_sizes(factory, contract, base)) is not None:
        return equal
    if first is not None:
        found = _larger(factory, contract, base)
        if found is None:
            return contract  # probing says why
        base, contract = found
    for name, domain in list(contract.hyperparameters.items()):
        sized = isinstance(domain, Domain) and domain.kind in ("size", "free") and len(domain.values) > 1
        if sized and name != contract.roles.get("num_layers"):
            contract = _kept(factory, contract, base, name)
    return contract


def _equal_sizes(factory: Factory, contract: Contract, base: Mapping[str, Any]) -> Contract | None:
    """The contract of a module that builds where input and hidden size are equal, and not elsewhere."""
    names = [contract.roles.get(role, "") for role in ("input_size", "hidden_size")]
    if not all(type(base.get(name)) is int for name in names):
        return None
    if _refusal(factory, {**base, names[0]: base[names[1]]}) is not None:
        return None
    reason = _refusal(factory, base)
    return replace(contract, constraints=(*contract.constraints, f"{names[0]} == {names[1]}")).with_evidence(
        f"{names[0]} equals {names[1]} always: the constructor says '{reason}'"
    )


def _larger(factory: Factory, contract: Contract, base: Mapping[str, Any]) -> tuple[dict[str, Any], Contract] | None:
    """Larger sizes under which the module builds, and the domains that have them."""
    names = [contract.roles[role] for role in SIZES if role in contract.roles]
    names = [name for name in names if contract.hyperparameters[name].kind == "size"]
    for start in range(len(_LARGER) - 2):
        sizes = dict(zip(names, _LARGER[start:], strict=False))
        if _refusal(factory, {**base, **sizes}) is None:
            for name in names:  # only what has to be large is
                smaller = {other: size for other, size in sizes.items() if other != name}
                sizes = smaller if _refusal(factory, {**base, **smaller}) is None else sizes
            larger = {name: Domain("size", (*range(1, 9), *_LARGER[1:])) for name in sizes}
            return {**base, **sizes}, replace(contract, hyperparameters={**contract.hyperparameters, **larger})
    return None


def _kept(factory: Factory, contract: Contract, base: Mapping[str, Any], name: str) -> Contract:
    """The contract without the values of one argument that do not build."""
    domain = contract.hyperparameters[name]
    assert isinstance(domain, Domain)
    refused = dict(_refusals(factory, domain.values, base, name))
    kept = tuple(value for value in domain.values if value not in refused)
    if not refused or not kept:
        return contract
    domains = {**contract.hyperparameters, name: Domain(domain.kind, kept[:6])}
    values, reason = ", ".join(repr(value) for value in refused), next(iter(refused.values()))
    return replace(contract, hyperparameters=domains).with_evidence(
        f"{name}={values} is left out: the constructor says '{reason}'"
    )


def _refusals(
    factory: Factory, values: tuple[Any, ...], base: Mapping[str, Any], name: str
) -> Iterator[tuple[Any, str]]:
    for value in values:
        reason = _refusal(factory, {**base, name: value})
        if reason is not None:
            yield value, reason


def _refusal(factory: Factory, hyperparameters: Mapping[str, Any]) -> str | None:
    """Why the constructor refuses these arguments, or None where it takes them."""
    try:
        factory.module(hyperparameters, 0)
    except TargetRaisedError as raised:
        return str(raised.error).partition("\n")[0] or type(raised.error).__name__
    except UnusableResultError:
        return None
    return None
