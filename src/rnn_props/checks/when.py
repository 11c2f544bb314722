"""When a check applies: from the contract to the reason why it does not, or None."""

from __future__ import annotations

from collections.abc import Callable

from rnn_props.contracts import Contract, ShapeRule

When = Callable[[Contract], str | None]


def all_of(*conditions: When) -> When:
    """The first reason that one of the conditions gives."""

    def reason(contract: Contract) -> str | None:
        return next((text for condition in conditions if (text := condition(contract)) is not None), None)

    return reason


def capable(name: str, reason: str) -> When:
    """The contract has a capability."""
    return lambda contract: None if getattr(contract.capabilities, name) else reason


def lacks(name: str, reason: str) -> When:
    """The contract does not declare something, such as `stateful`."""
    return lambda contract: reason if getattr(contract.capabilities, name) else None


def has_state(contract: Contract) -> str | None:
    return None if contract.state is not None else "it neither takes nor returns a state"


def has_sequence_state(contract: Contract) -> str | None:
    if contract.one_step:
        return "a cell makes one step: there is no sequence to cut"
    return has_state(contract)


def has_output(contract: Contract) -> str | None:
    return None if contract.output is not None else "a cell returns its state alone (RP102 holds its shape)"


def has_time_axis(contract: Contract) -> str | None:
    """There is an output for each step."""
    if contract.one_step:
        return "a cell makes one step"
    if contract.output is None or ShapeRule.parse(contract.output).axis("T") is None:
        return "the output has no time axis"
    return None


def has_sequence(contract: Contract) -> str | None:
    return "a cell makes one step" if contract.one_step else None


def has_packed(contract: Contract) -> str | None:
    return None if contract.capabilities.packed else "it takes no packed sequences"


def has_lengths(contract: Contract) -> str | None:
    return None if "lengths" in contract.arguments else "it takes no lengths"


def real_input(contract: Contract) -> str | None:
    return None if contract.vocabulary is None else "its input is token ids"


def is_stateful(contract: Contract) -> str | None:
    return None if contract.convention == "stateful" else "it keeps no state between calls"


independent_rows = all_of(
    lacks("batch_statistics", "batch statistics are part of its contract"),
    lacks("per_tensor_quantised", "one quantisation scale for the whole tensor is part of its contract"),
)
unquantised = lacks("per_tensor_quantised", "one quantisation scale for the whole tensor is part of its contract")
not_stateful = lacks("stateful", "it keeps its state between calls by contract")
differentiable = capable("differentiable", "it is not differentiable by contract")
causal = all_of(
    has_time_axis,
    capable("causal", "its outputs depend on later inputs by contract"),
    lacks("per_tensor_quantised", "one quantisation scale for the whole tensor is part of its contract"),
)
