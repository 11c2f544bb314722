"""From a target to its contract: what its signature says, what a few probing calls show, and the evidence for both.

Only the simplest configuration is probed. What it shows is then demanded of every other one, so a bug that needs two
layers or two directions is never learned as the rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rnn_props.contracts import Contract, Domain, Value, free, with_fixed
from rnn_props.contracts.presets import (
    CELL_ARGUMENTS,
    FULL_SEQUENCE_ARGUMENTS,
    SEQUENCE_ARGUMENTS,
    cell_contract,
    sequence_contract,
)
from rnn_props.inference.configure import SIZES, configure, that_build
from rnn_props.inference.general import of_calls
from rnn_props.inference.names import STATE_NAMES, is_lengths
from rnn_props.inference.probe import Probe
from rnn_props.inference.signature import Signatures, read_signatures, role_of, unwrapped
from rnn_props.subjects import Factory, TargetRaisedError, UnusableResultError
from rnn_props.targets import TargetError

_CLASS_OF: Mapping[type[nn.Module], str] = {
    nn.RNN: "RNN",
    nn.LSTM: "LSTM",
    nn.GRU: "GRU",
    nn.RNNCell: "RNNCell",
    nn.LSTMCell: "LSTMCell",
    nn.GRUCell: "GRUCell",
}


def infer_contract(target: Any, arguments: Mapping[str, Value] | None = None, adapter: Any = None) -> Contract:
    """Work out the contract of a class, factory or instance.

    Args:
        target: the loaded object; a contract is taken as it is.
        arguments: constructor arguments that the user gave; they are never varied.
        adapter: how to build and call it, as an adapter or the text that names one; None for one of the conventions.

    Raises:
        TargetError: something that is needed can't be concluded; the message names it and the option that gives it.
    """
    if isinstance(target, Contract):
        return _of_contract(target, dict(arguments or {}))
    if not isinstance(target, nn.Module) and not callable(target):
        raise TargetError(
            f"it is an object of type {type(target).__name__}; a target is a torch.nn.Module class, a factory that "
            "returns a module, or a module"
        )
    if isinstance(target, type) and not issubclass(target, nn.Module):
        raise TargetError(
            f"it is the class {target.__name__}, which is no torch.nn.Module; a target is a module class, a factory "
            "that returns a module, or a module"
        )
    fixed = dict(arguments or {})
    signatures = read_signatures(target)
    _check_arguments(signatures, fixed)
    if isinstance(target, nn.Module):
        return _of_instance(target, signatures, adapter)
    if adapter is not None:
        return Probe(target, _general(target, signatures, fixed, adapter)).settle()
    if not signatures.forward:
        signatures = _with_methods_of_what_it_builds(target, signatures, fixed)
    own = next((name for cls, name in _CLASS_OF.items() if target is cls), None)
    contract = None
    if own is not None:
        contract = _preset(own, signatures, full=True).with_evidence(f"it is torch.nn.{own}")
    else:
        contract = _of_torch_signature(target, signatures, fixed)
    if contract is None:
        contract = _general(target, signatures, fixed)
    elif fixed:
        contract = with_fixed(contract, fixed)
    return contract if own is not None and not fixed else Probe(target, contract).settle()


def _of_contract(contract: Contract, fixed: Mapping[str, Value]) -> Contract:
    """A contract that is itself the target: as it is, with the user's arguments held at their values."""
    if contract.build is None:
        raise TargetError("the contract has no build: give it the class or factory to call")
    drawn = [name for name, domain in contract.hyperparameters.items() if not isinstance(domain, Domain)]
    if drawn:
        raise TargetError(
            f"the contract draws '{drawn[0]}' from a strategy, which stays in the process that made it: name its "
            "values (integers, choices, free), or pass the contract from Python, as rnn_props.check(contract)"
        )
    if not fixed:
        return contract
    _check_arguments(read_signatures(contract.build), fixed)
    return with_fixed(contract, fixed)


def _with_methods_of_what_it_builds(target: Any, signatures: Signatures, fixed: Mapping[str, Value]) -> Signatures:
    """The signatures of a factory, or of a class that passes everything on, with forward and the other methods as in a
    module that it builds; as they were where it builds none."""
    sizes = {
        item.name: size
        for item in signatures.constructor
        if (size := SIZES.get(role_of(item.name) or "")) is not None and item.name not in fixed
    }
    try:
        module = Factory(target, Contract(fixed=fixed)).module(sizes, 0)
    except (TargetRaisedError, UnusableResultError):
        return signatures  # probing will say why
    found = read_signatures(module)
    return replace(found, constructor=signatures.constructor, open_ended=signatures.open_ended)


def _check_arguments(signatures: Signatures, fixed: Mapping[str, Value]) -> None:
    names = signatures.constructor_names()
    for name in fixed:
        if name not in names and not signatures.open_ended:
            known = ", ".join(sorted(names)) or "none"
            raise TargetError(
                f"its constructor has no argument '{name}' (given with --arg or in the configuration); it has: {known}"
            )


def _preset(torch_module: str, signatures: Signatures, *, full: bool) -> Contract:
    make = cell_contract if torch_module.endswith("Cell") else sequence_contract
    return make(torch_module, signatures.constructor_names(), full=full)


def _of_torch_signature(target: Any, signatures: Signatures, fixed: Mapping[str, Value]) -> Contract | None:
    """The contract of torch.nn's module with this signature, if there is one.

    A signature that has everything of torch's is held to torch's contract, whatever a call shows. One that has a part
    of it may have a meaning of its own: there the simplest call must show torch's shapes.
    """
    names = signatures.constructor_names()
    if not {"input_size", "hidden_size"} <= names:
        return None
    if any(item.required and item.name not in (*SEQUENCE_ARGUMENTS, *fixed) for item in signatures.constructor):
        return None
    forward = signatures.forward
    if len(forward) < 2 or forward[1].name not in STATE_NAMES or any(item.required for item in forward[2:]):
        return None
    state_required = forward[1].required
    sizes = {name: fixed.get(name, SIZES[name]) for name in ("input_size", "hidden_size")}
    others = {name: value for name, value in fixed.items() if name not in sizes}
    probe = Probe(target, Contract(convention="rnn", fixed=others))
    features = sizes["input_size"]
    if not isinstance(features, int):
        return None
    if "num_layers" not in names and names <= CELL_ARGUMENTS:
        shown = probe.returns(sizes, inputs=torch.zeros(7, features), state_required=state_required)
        if shown in ("tensor", "pair of tensors"):
            name = "LSTMCell" if shown == "pair of tensors" else "RNNCell" if "nonlinearity" in names else "GRUCell"
            full = "bias" in names and not state_required
            return _if_it_fits(target, _preset(name, signatures, full=full), name, shown, fixed)
    shown = probe.returns(sizes, inputs=torch.zeros(2, 7, features), state_required=state_required)
    if shown not in ("output and tensor", "output and pair"):
        return None
    name = "LSTM" if shown == "output and pair" else "RNN" if "nonlinearity" in names else "GRU"
    full = names >= FULL_SEQUENCE_ARGUMENTS and not state_required
    contract = _preset(name, signatures, full=full)
    lengths = next((item.name for item in forward[2:] if is_lengths(item.name)), None)
    if lengths is not None:
        contract = replace(contract, arguments={"lengths": lengths})
        contract = contract.with_evidence(f"its forward takes each row's length as '{lengths}'")
        if any(item.name == "enforce_sorted" for item in forward[2:]):
            contract = replace(contract, keywords={"enforce_sorted": False})
            contract = contract.with_evidence("passed to forward in every call: enforce_sorted=False")
    return _if_it_fits(target, contract, name, shown, fixed)


def _if_it_fits(target: Any, contract: Contract, name: str, shown: str, fixed: Mapping[str, Value]) -> Contract | None:
    """The contract, or None where it is promised in part only and the simplest call has other shapes."""
    full = contract.capabilities.torch_contract
    if not full and not Probe(target, with_fixed(contract, fixed)).fits():
        return None
    return _signature_evidence(contract, name, full, shown)


def _signature_evidence(contract: Contract, name: str, full: bool, shown: str) -> Contract:
    optional = "held to its whole contract" if full else "held to the part of its contract that the signature has"
    sentences = [f"constructor and forward have the signature of torch.nn.{name}: {optional}", f"a call gave {shown}"]
    return contract.with_evidence(*sentences)


def _general(target: Any, signatures: Signatures, fixed: Mapping[str, Value], adapter: Any = None) -> Contract:
    """The contract of a module that is nothing like torch.nn's."""
    contract = configure(signatures, fixed)
    if adapter is not None:
        contract = replace(contract, convention=adapter)
    contract = that_build(target, contract)
    if {"dtype", "device"} <= signatures.constructor_names():
        contract = replace(contract, capabilities=replace(contract.capabilities, factory=True))
    contract = of_calls(target, signatures, contract)
    if not signatures.time_spans or contract.one_step or contract.adapter is not None:
        return contract
    # Whether it takes them is tried out with the rest.
    return replace(contract, arguments={**contract.arguments, "time_spans": signatures.time_spans})


def _of_instance(module: nn.Module, signatures: Signatures, adapter: Any = None) -> Contract:
    """The contract of one module as it is: sizes are read off its attributes, nothing is varied."""
    inner = unwrapped(module)
    known = None if adapter else next((name for cls, name in _CLASS_OF.items() if isinstance(inner, cls)), None)
    names = {name for name in SEQUENCE_ARGUMENTS if isinstance(getattr(inner, name, None), int | float | str)}
    if known is not None:
        make = cell_contract if known.endswith("Cell") else sequence_contract
        contract = make(known, names, full=True)
        contract = replace(contract, capabilities=replace(contract.capabilities, factory=False, batch_first=False))
    else:
        roles = {role: name for name in _attributes(inner) if (role := role_of(name)) is not None}
        hyperparameters = {name: free(0) for name in roles.values()}
        contract = Contract(convention=adapter or "rnn", roles=roles, hyperparameters=hyperparameters)
    contract = replace(
        contract,
        hyperparameters={name: free(getattr(inner, name)) for name in contract.hyperparameters},
        constraints=(),
    ).with_evidence("it is a module: its sizes are read off it, not varied")
    if inner is not module:
        contract = contract.with_evidence(
            f"{type(module).__name__} passes everything on: arguments and sizes are those of the "
            f"{type(inner).__name__} inside"
        )
    if isinstance(inner, torch.jit.ScriptModule):
        # Moved to another dtype, a scripted module differentiates what it was before, in the old one.
        able = replace(contract.capabilities, compile=False, export=False, differentiable=False)
        contract = replace(contract, capabilities=able).with_evidence(
            "torch.compile and torch.export take no scripted module, and its gradients are TorchScript's own doing"
        )
    if known is None:
        contract = of_calls(module, signatures, contract)
    return Probe(module, contract).settle()


def _attributes(module: nn.Module) -> list[str]:
    return [name for name, value in vars(module).items() if isinstance(value, int | float | str | bool)]
