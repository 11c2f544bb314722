"""What of a returned value is the output and what the state: the state is what can be passed on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rnn_props.contracts import SIZE_LETTERS, Contract, Structure
from rnn_props.inference.calls import Attempt
from rnn_props.inference.configure import simplest
from rnn_props.inference.layout import ProbeError
from rnn_props.inference.names import OUTPUT_NAMES
from rnn_props.inference.shapes_seen import Variation, letters_of, rule_of, structure_of
from rnn_props.subjects import (
    Factory,
    Subject,
    TargetRaisedError,
    UnusableResultError,
    main_output,
    named_parts,
    split,
)

#: The other sizes that T and B are given, to see what changes with them.
OTHER_T, OTHER_B = 6, 4


@dataclass(frozen=True, slots=True)
class Parts:
    """How a returned value splits: the pattern, and its parts in the call that was made."""

    result: str
    output: Any
    state: Any


def parts_of(attempt: Attempt, names: int) -> Parts | None:
    """How the returned value splits into output and state, or None where no part of it can be passed on.

    A split is right if its state goes in again and comes out with the shapes that it had.

    Args:
        attempt: a call that worked.
        names: how many of forward's arguments are states.
    """
    contract = attempt.contract
    if attempt.subject.adapter is not None:
        output, state = attempt.subject.adapter.split_state(attempt.value)
        return Parts("", output, state)
    for result in _patterns(attempt.value, contract.one_step, names):
        output, state = split(replace(contract, result=result), attempt.value)
        if not _has_tensors(state) or not (output is None or isinstance(output, Tensor)):
            continue
        if _goes_in_again(attempt, result, state):
            return Parts(result, output, state)
    return None


def _patterns(value: Any, one_step: bool, names: int) -> Iterator[str]:
    """Splits that a value of this kind may have, the likeliest first."""
    if isinstance(value, Tensor):
        if one_step:
            yield "state"
        return
    if (fields := result_fields(value)) is not None:
        yield from _fields_patterns(fields, one_step)
        return
    if not isinstance(value, tuple | list):
        return
    if len(value) == 1:
        yield "state"
        return
    if one_step and (names <= 1 or len(value) == names):
        yield "state"
    if len(value) == 2:
        yield "output, state"
        yield "state, output"
    yield "output, *state"
    if len(value) > 2:
        yield "output, state, *_"


def result_fields(value: Any) -> Mapping[str, Any] | None:
    """The fields of a returned object or dict that can be named in a contract's `result`; None of anything else."""
    fields = named_parts(value)
    if fields is None or not all(isinstance(name, str) and name.isidentifier() for name in fields):
        return None
    return fields


def output_field(fields: Mapping[str, Any]) -> str:
    """The field that is the output, or "": one of the usual names, else the first tensor."""
    tensors = [name for name, item in fields.items() if isinstance(item, Tensor) and item.dim() > 0]
    return next((name for name in OUTPUT_NAMES if name in tensors), next(iter(tensors), ""))


def _fields_patterns(fields: Mapping[str, Any], one_step: bool) -> Iterator[str]:
    if one_step:
        yield "state"
    output = output_field(fields)
    for name, item in fields.items():
        if output and name != output and _has_tensors(item):
            yield f"{output}=output, {name}=state"
    if not one_step:
        yield "state"


def _goes_in_again(attempt: Attempt, result: str, state: Any) -> bool:
    contract = replace(attempt.contract, result=result)
    try:
        again = attempt.subject.call_raw(attempt.inputs, state)
        _, following = split(contract, again)
    except (TargetRaisedError, UnusableResultError):
        return False
    return bool(shapes(following) == shapes(state))


def _has_tensors(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.dim() > 0
    fields = named_parts(value)
    if fields is not None:
        return any(_has_tensors(item) for item in fields.values())
    return isinstance(value, tuple | list) and any(_has_tensors(item) for item in value)


def shapes(tree: Any) -> Any:
    """The shapes in a tree, whatever the containers are."""
    if isinstance(tree, Tensor):
        return tuple(tree.shape)
    fields = named_parts(tree)
    if fields is not None:
        return [shapes(item) for item in fields.values()]
    if isinstance(tree, tuple | list):
        return [shapes(item) for item in tree]
    return None


class Observer:
    """Runs of one call under other sizes and hyperparameters."""

    def __init__(self, target: Any, attempt: Attempt, parts: Parts | None) -> None:
        self._target = target
        self._attempt = attempt
        self._contract = attempt.contract
        self._parts = parts
        self.base = simplest(attempt.contract)

    def see(
        self, hyperparameters: Mapping[str, Any], seq_len: int, batch: int, rule: str = ""
    ) -> tuple[Any, Any] | None:
        """Output and state of a run, with the input of another rule if there is one; None where it does not work."""
        contract = self._contract
        sizes = contract.sizes(hyperparameters, seq_len, batch)
        try:
            subject = Factory(self._target, contract).subject(hyperparameters, 0, dtype="float32")
            shape = [sizes[part] if part in sizes else int(part) for part in (rule or contract.input).split()]
            inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
            value = subject.call_raw(inputs, self._attempt.state(sizes, subject))
            return self.split(subject, value)
        except (TargetRaisedError, UnusableResultError):
            return None

    def split(self, subject: Subject, value: Any) -> tuple[Any, Any]:
        if subject.adapter is not None:
            return subject.adapter.split_state(value)
        if self._parts is None:
            return main_output(value), None
        return split(replace(self._contract, result=self._parts.result), value)

    def variations(self, seq_len: int, batch: int) -> dict[str, Variation]:
        """Runs in which one letter has another value, by letter; what does not run is left out."""
        found: dict[str, Variation] = {}
        base_sizes = self._contract.sizes(self.base, seq_len, batch)
        runs: dict[str, tuple[dict[str, Any], int, int]] = {
            "B": (self.base, seq_len, OTHER_B),
            "T": (self.base, OTHER_T, batch),
        }
        for name, letter, value in self._others():
            runs[letter] = ({**self.base, name: value}, seq_len, batch)
        for letter, (hyperparameters, length, rows) in runs.items():
            seen = self.see(hyperparameters, length, rows)
            sizes = self._contract.sizes(hyperparameters, length, rows)
            if seen is not None and letter in sizes and sizes[letter] != base_sizes[letter]:
                found[letter] = Variation(base_sizes[letter], sizes[letter], seen)
        return found

    def _others(self) -> Iterator[tuple[str, str, Any]]:
        """For each hyperparameter that counts something: its name, its letter, and another value."""
        letters = {**{role: letter for letter, role in SIZE_LETTERS.items()}, "num_layers": "L", "bidirectional": "D"}
        roles = {name: role for role, name in self._contract.roles.items()}
        for name, domain in self._contract.hyperparameters.items():
            value, values = self.base[name], [item for item in domain.values if item != self.base[name]]
            letter = letters.get(roles.get(name, ""), name)
            if isinstance(value, tuple):
                yield from ((name, kind, item) for kind, item in (("L", (*value, 4)), ("H", (4,))))
            elif letter == "D":
                yield from ((name, letter, True) for _ in values[:1])
            elif type(value) is int and values:
                # The next layer count, but any other size: two sizes that happen to be equal could hide one another.
                others = [item for item in values if type(item) is int and item not in self.base.values()]
                yield name, letter, (min(values) if letter == "L" else next(iter(others), values[-1]))


def state_structure(
    contract: Contract, state: Any, variations: Mapping[str, Variation], exact: Mapping[str, int]
) -> Structure:
    """The structure of a state.

    Raises:
        ProbeError: it can't be told, it grows with the sequence, or no part of it has a row for each of the batch.
    """
    changes = {letter: Variation(c.before, c.after, c.seen[1]) for letter, c in variations.items()}
    name = contract.roles.get("hidden_size", "")
    widths = name if isinstance(simplest(contract).get(name), tuple) else ""
    structure = structure_of(state, changes, exact, widths=widths)
    letters = letters_of(structure)
    if "T" in letters:
        raise ProbeError(f"its state grows with the sequence: {structure}")
    if "B" not in letters:
        raise ProbeError(f"no part of its state has a row for each row of the batch: {structure}")
    return structure


def output_rule(output: Tensor, variations: Mapping[str, Variation], exact: Mapping[str, int]) -> str:
    changes = {letter: Variation(c.before, c.after, c.seen[0]) for letter, c in variations.items() if letter != "L"}
    return rule_of(output, changes, exact, "the output")
