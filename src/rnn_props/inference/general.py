"""The contract of a module that is nothing like torch.nn's: found by calling it, and said how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnn_props.contracts import OPEN, Contract, Domain, structure_text
from rnn_props.inference.calls import Attempt, Caller, Roles, read_roles
from rnn_props.inference.configure import FIRST, SECOND, simplest
from rnn_props.inference.layout import ProbeError, axis_of, influence, is_diagonal, which_is_batch
from rnn_props.inference.shapes_seen import Variation
from rnn_props.inference.signature import Signatures
from rnn_props.inference.splitting import (
    Observer,
    Parts,
    output_field,
    output_rule,
    parts_of,
    result_fields,
    state_structure,
)
from rnn_props.inference.stepping import with_step
from rnn_props.subjects import TargetRaisedError, UnusableResultError, leaves, main_output, split

_NEITHER = "its output has no axis that follows the rows of the input"


def of_calls(target: Any, signatures: Signatures, contract: Contract) -> Contract:
    """The contract with layout, output and state, from probing calls of the simplest configuration.

    Args:
        target: what is built.
        signatures: of the target; forward's arguments are known by their names.
        contract: what the constructor's arguments are, and the adapter, if there is one.

    Raises:
        ProbeError: the simplest configuration can't be built or called, or its layout can't be told.
    """
    roles = _roles(signatures, contract)
    if signatures.reset and not roles.lengths_required:
        contract = replace(contract, reset=signatures.reset)
    caller = Caller(target, contract, signatures, simplest(contract))
    attempt = _attempt(caller, roles)
    name = "" if "input_size" in contract.roles else caller.width_name(attempt)
    if name:
        others = {role: argument for role, argument in contract.roles.items() if argument != name}
        contract = replace(contract, roles={**others, "input_size": name})
        return of_calls(target, signatures, contract.with_evidence(f"the input has as many features as '{name}' says"))
    attempt, parts, evidence = _laid_out(caller, roles, attempt)
    contract = attempt.contract
    output = _output_of(attempt, parts)
    observer = Observer(target, attempt, parts)
    variations = observer.variations(FIRST, SECOND)
    exact = {letter: size for letter, size in caller.sizes(contract).items() if letter not in variations}
    exact = {letter: exact[letter] for letter in ("T", "B", "I", "H", "O", "V") if letter in exact}
    rule = None if output is None else output_rule(output, variations, exact)
    if rule is not None and "B" not in rule.split():
        raise ProbeError(f"{_NEITHER} ({tuple(output.shape) if output is not None else ()}); give a Contract")
    contract = replace(contract, output=rule, state=None, result="").with_evidence(*evidence)
    contract = _with_state(contract, attempt, parts, variations, exact, roles)
    contract = _of_any_width(contract, attempt, caller)
    contract = _with_batch_first(contract, observer)
    contract = caller.with_optional_flags(contract, attempt, roles)
    contract = _known_by(contract)
    return with_step(target, contract, signatures, attempt) if signatures.step else contract


def _roles(signatures: Signatures, contract: Contract) -> Roles:
    if contract.adapter is not None:
        return Roles(states=("state",))
    roles = read_roles(signatures.forward)
    # A module that hides its state and takes lengths is called with them, whether it must be or not.
    return replace(roles, lengths_required=bool(roles.lengths) and (roles.lengths_required or not roles.states))


def _attempt(caller: Caller, roles: Roles) -> Attempt:
    attempt = caller.first(roles)
    if attempt.contract.input.split()[:2] not in (["T", "B"], ["B", "T"]) or not roles.states:
        return attempt
    return _as_cell(caller, roles, attempt) or attempt


def _as_cell(caller: Caller, roles: Roles, attempt: Attempt) -> Attempt | None:
    """The call of one step, where a sequence is taken for more rows: no step has an effect on another."""
    inner = " ".join(attempt.contract.input.split()[1:])
    try:
        step = caller.first(roles, (inner.replace("T", "B"),))
    except ProbeError:
        return None
    value = _some_tensor(attempt.value)
    if value is None or value.shape[:2] != attempt.inputs.shape[:2]:
        return None

    def call(changed: Tensor) -> Any:
        return _some_tensor(caller.call(attempt.contract, attempt.make, attempt.how, changed).value)

    both = [influence(call, attempt.inputs, which, which, value) for which in (0, 1)]
    return step if all(is_diagonal(matrix) and bool(matrix.any()) for matrix in both) else None


def _laid_out(caller: Caller, roles: Roles, attempt: Attempt) -> tuple[Attempt, Parts | None, list[str]]:
    """The call in its own layout, how its value splits, and the evidence for both."""
    parts = _parts(caller, attempt, roles)
    output = _output_of(attempt, parts)
    layout = attempt.contract.input
    evidence = [_shapes_text(attempt, output)]
    if layout.split()[0] not in ("T", "B") or "T" not in layout.split():
        return attempt, parts, [*evidence, "it takes one step: the first axis is the batch"]
    if layout.split()[-1] == "T" and len(layout.split()) > 2:
        evidence.append("it takes features before time: (batch, features, time)")
    elif output is not None:
        batch, sentence = _batch_axis(caller, attempt, parts, output)
        wanted = " ".join([*(["B", "T"] if batch == 0 else ["T", "B"]), *layout.split()[2:]])
        if wanted != layout:
            attempt = _again(caller, attempt, replace(attempt.contract, input=wanted))
            parts = _parts(caller, attempt, roles)
            output = _output_of(attempt, parts)
        evidence.append(sentence)
        said, where = caller.said_layout
        if said and (said == "B T") != (batch == 0):
            evidence.append(f"{OPEN}{where} says that it is the other way round")
    attempt, causal, text = _causal(caller, attempt, parts, output)
    able = replace(attempt.contract.capabilities, causal=causal)
    return replace(attempt, contract=replace(attempt.contract, capabilities=able)), parts, [*evidence, text]


def _again(caller: Caller, attempt: Attempt, contract: Contract) -> Attempt:
    """The same call in another layout.

    Raises:
        ProbeError: it does not work in that one.
    """
    try:
        return caller.call(contract, attempt.make, attempt.how)
    except (TargetRaisedError, UnusableResultError) as error:
        raise ProbeError(
            f"influence says that its input is ({', '.join(contract.input.split())}), and a call like that fails: "
            f"{error}"
        ) from error


def _shapes_text(attempt: Attempt, output: Tensor | None) -> str:
    given = f"an input of shape {tuple(attempt.inputs.shape)}"
    if attempt.make is not None:
        given += f" and a state ({attempt.how})"
    if output is None:
        return f"{given} gave a state alone"
    return f"{given} gave an output of shape {tuple(output.shape)}"


def _parts(caller: Caller, attempt: Attempt, roles: Roles) -> Parts | None:
    """How the returned value splits. A state that goes in again where input and hidden size are equal, and only there,
    is one all the same: that it does not elsewhere is for checks to say."""
    if not roles.states:
        fields = result_fields(attempt.value)
        output = output_field(fields) if fields is not None else ""
        return Parts(f"{output}=output", fields[output], None) if fields is not None and output else None
    found = parts_of(attempt, len(roles.states))
    names = [attempt.contract.roles.get(role, "") for role in ("input_size", "hidden_size")]
    sizes = caller.hyperparameters
    if found is not None or attempt.make is not None or not all(type(sizes.get(name)) is int for name in names):
        return found
    equal = caller.with_hyperparameters(**{names[0]: sizes[names[1]]})
    try:
        other = equal.call(attempt.contract, attempt.make, attempt.how)
    except (TargetRaisedError, UnusableResultError):
        return None
    there = parts_of(other, len(roles.states))
    if there is None:
        return None
    output, state = split(replace(attempt.contract, result=there.result), attempt.value)
    return Parts(there.result, output, state)


def _output_of(attempt: Attempt, parts: Parts | None) -> Tensor | None:
    """The output of a call.

    Raises:
        ProbeError: there is no tensor where the output should be.
    """
    if parts is not None:
        return parts.output  # type: ignore[no-any-return]
    output = main_output(attempt.value)
    if isinstance(output, Tensor):
        return output
    kind = type(output).__name__
    raise ProbeError(
        f"a call with an input of shape {tuple(attempt.inputs.shape)} gave a {kind}; expected a tensor, or a tuple "
        "that begins with one; an adapter can take it apart ('rnn-props infer --adapter FILE' makes a stub)"
    )


def _some_tensor(value: Any) -> Tensor | None:
    while isinstance(value, tuple | list) and value:
        value = value[0]
    return value if isinstance(value, Tensor) else None


def _repeated(caller: Caller, attempt: Attempt, parts: Parts | None) -> Any:
    """The output as a function of the input; of a fresh module each time where one may remember."""
    adapter = attempt.subject.adapter
    contract = replace(attempt.contract, result=parts.result if parts is not None else "")

    def call(changed: Tensor) -> Any:
        subject = attempt.subject
        if attempt.contract.reset:
            value = caller.call(attempt.contract, attempt.make, attempt.how, changed).value
        else:
            value = subject.call_raw(changed, attempt.state(caller.sizes(contract)))
        if adapter is not None:
            return adapter.split_state(value)[0]
        return _first(contract, value)

    return call


def _first(contract: Contract, value: Any) -> Any:
    if contract.result:
        return split(contract, value)[0]
    return main_output(value)


def _batch_axis(caller: Caller, attempt: Attempt, parts: Parts | None, output: Tensor) -> tuple[int, str]:
    call = _repeated(caller, attempt, parts)
    sizes = attempt.inputs.shape[:2]
    axes = [axis_of(output, size) for size in sizes]
    found = [
        None if axis is None else influence(call, attempt.inputs, which, axis, output)
        for which, axis in enumerate(axes)
    ]
    others = [leaf for _, leaf in leaves(attempt.value) if leaf is not output]
    rest = [any(size in leaf.shape for leaf in others) for size in sizes]
    return which_is_batch(found, attempt.subject.module, tuple(output.shape), rest, caller.said_layout)


def _causal(caller: Caller, attempt: Attempt, parts: Parts | None, output: Tensor | None) -> tuple[Attempt, bool, str]:
    which = attempt.contract.input.split().index("T")
    axis = None if output is None else axis_of(output, FIRST)
    if output is None or axis is None:
        return attempt, True, "the output has no time axis"
    time = influence(_repeated(caller, attempt, parts), attempt.inputs, which, axis, output)
    causal = bool(torch.equal(time, time.tril()))
    text = "outputs depend on inputs up to their step" if causal else "outputs depend on later inputs too"
    return attempt, causal, text


def _with_state(
    contract: Contract,
    attempt: Attempt,
    parts: Parts | None,
    variations: Mapping[str, Variation],
    exact: Mapping[str, int],
    roles: Roles,
) -> Contract:
    """The contract with the structure of the state, and the split that shows it."""
    if parts is None or parts.state is None:
        if attempt.make is not None:
            raise ProbeError(
                f"its forward takes a state '{' '.join(roles.states)}' ({attempt.how}), and nothing that it returns "
                "can be passed on as that; write an adapter ('rnn-props infer --adapter FILE' makes a stub)"
            )
        result = parts.result if parts is not None else ""
        if result:
            contract = replace(contract, result=result).with_evidence(f"a call returns fields: {result}")
        if roles.states and contract.adapter is None:
            return replace(contract, arguments=_without_state(contract)).with_evidence(
                f"its forward takes a state '{roles.states[0]}', which is left out and not checked"
            )
        return contract
    try:
        structure = state_structure(contract, parts.state, variations, exact)
    except ProbeError as error:
        if attempt.make is not None or contract.output is None:
            raise
        result = "" if contract.adapter is not None else _model_result(parts.result)
        return replace(contract, arguments=_without_state(contract), result=result).with_evidence(
            f"{OPEN}its state is not checked: {error}"
        )
    plain = "state" if contract.one_step else "output, state"
    result = "" if parts.result == plain and contract.convention != "lengths" else parts.result
    if contract.one_step and contract.output is None:
        result = ""
    able = replace(contract.capabilities, optional_state=attempt.make is None)
    names = contract.arguments.get("state", "").split()
    if len(names) > 1 and not (isinstance(structure, tuple | list) and len(structure) == len(names)):
        contract = replace(contract, arguments={**contract.arguments, "state": names[0]}).with_evidence(
            f"what comes back goes in as {names[0]}; {', '.join(names[1:])} is left out"
        )
    found = replace(contract, state=structure, result=result, capabilities=able)
    what = parts.result or "output, state"
    return found.with_evidence(f"a call returns ({what}), and that state goes in again: {structure_text(structure)}")


def _without_state(contract: Contract) -> dict[str, str]:
    return {name: value for name, value in contract.arguments.items() if name != "state"}


def _model_result(result: str) -> str:
    """The pattern of a split without its state."""
    if "=" in result:
        return result.partition(",")[0]
    if result in ("", "state") or result.startswith("output"):
        return ""
    return result.replace("*state", "*_").replace("state", "_")


def _of_any_width(contract: Contract, attempt: Attempt, caller: Caller) -> Contract:
    """Whether an input of another number of features is taken as well, where no argument of the constructor says it."""
    parts = contract.input.split()
    axis = next((index for index, part in enumerate(parts) if part.isdigit()), None)
    if axis is None or "I" in parts or attempt.make is not None:
        return contract
    wider = torch.cat([attempt.inputs, attempt.inputs], axis)
    try:
        caller.call(attempt.contract, None, attempt.how, wider)
    except (TargetRaisedError, UnusableResultError):
        return contract
    able = replace(contract.capabilities, any_width=True)
    return replace(contract, capabilities=able).with_evidence(
        f"{parts[axis]} features are taken, and {wider.shape[axis]} as well: any number"
    )


def _with_batch_first(contract: Contract, observer: Observer) -> Contract:
    """The contract with batch_first, if that exchanges the first two axes of input and output; else without it."""
    name = contract.roles.get("batch_first")
    if name is None:
        return contract
    domain = contract.hyperparameters[name]
    varied = isinstance(domain, Domain) and len(domain.values) > 1
    without = {role: argument for role, argument in contract.roles.items() if role != "batch_first"}
    if contract.input.split()[0] == "B":
        contract = replace(contract, roles=without)
        # A module as it is, or an argument that the user holds: its layout is what it is.
        sentence = "batch_first=False gave this layout too, so batch_first changes nothing"
        return contract.with_evidence(sentence) if varied else contract
    given = {**observer.base, name: True}
    rules = contract.rules(given).output
    seen = observer.see(given, FIRST, SECOND, rule=str(contract.rules(given).input))
    if not varied or rules is None or seen is None or not isinstance(seen[0], Tensor):
        return contract
    if tuple(seen[0].shape) == rules.shape(contract.sizes(given, FIRST, SECOND)):
        return contract
    domains = {**contract.hyperparameters, name: Domain("free", (False,))}
    return replace(contract, roles=without, hyperparameters=domains).with_evidence(
        "batch_first does not exchange the axes of the output with those of the input: it is held at False"
    )


def _known_by(contract: Contract) -> Contract:
    """The contract under its convention, with what forward's arguments are."""
    sentences: list[str] = []
    if contract.vocabulary is not None:
        sentences.append(f"token ids are taken: integers below {contract.vocabulary}")
    if contract.keywords:
        given = ", ".join(f"{name}={value!r}" for name, value in contract.keywords.items())
        sentences.append(f"passed to forward in every call: {given}")
    if "lengths" in contract.forms:
        sentences.append(f"what '{contract.arguments['lengths']}' marks as padding has no effect on a call")
    elif "lengths" in contract.arguments:
        sentences.append(f"its forward takes each row's length as '{contract.arguments['lengths']}'")
        if contract.capabilities.relative_lengths:
            sentences.append("numbers of steps are refused as lengths, parts of the longest are taken")
    if "starts" in contract.arguments:
        sentences.append(f"'{contract.arguments['starts']}' says where an episode begins")
    if contract.adapter is not None or contract.convention == "lengths":
        convention = contract.convention
    elif contract.state is not None:
        convention = "cell" if contract.one_step else "rnn"
    else:
        convention = "stateful" if contract.reset else "model"
    names = set(contract.hyperparameters) | set(contract.fixed)
    able = replace(
        contract.capabilities,
        bidirectional="bidirectional" in contract.roles,
        batch_first="batch_first" in contract.roles,
        factory=contract.capabilities.factory or {"dtype", "device"} <= names,
    )
    return replace(contract, convention=convention, capabilities=able).with_evidence(*sentences)
