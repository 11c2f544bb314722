"""Other values for a case of a gradient check: small moves of what results depend on, and other draws of all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnn_props.checks.trial import Discarded, Trial, Violation
from rnn_props.contracts import Domain
from rnn_props.subjects import Result, TargetRaisedError, Tree, clone, map_tree, state_leaves

#: For each name of `Trial.gradients`, a tensor that is added to what is so called.
Move = Mapping[str, Tensor]

#: Other values for a case: a trial, and the input and the state of its call.
Draw = tuple[Trial, Any, Tree]

#: In smaller sizes than this a normalisation or a softmax may be constant by its nature.
_ROOM = 3
#: Lengths at which a parameter that seems to do nothing is tried before that is said.
_OTHER_LENGTHS = (1, 2, 7, 17)


def in_some_mode(t: Trial) -> None:
    """Put the module into training mode, where gradients are used, in half of the cases.

    It stays in eval mode where training computes something else (dropout, noise, batch statistics) or keeps something
    (running statistics, a power iteration).
    """
    if t.pick(0, 2) == 0:
        return
    probe = t.build()
    probe.module.train()
    buffers = {name: clone(value) for name, value in probe.module.named_buffers()}
    try:
        t.same_result(t.call(subject=probe), t.call())
    except (TargetRaisedError, Violation, Discarded):
        return
    if not t.changed(dict(probe.module.named_buffers()), buffers):
        t.subject.module.train()


def mode_of(t: Trial) -> str:
    """The mode in words, where it is not the usual one."""
    return " in training mode" if t.subject.module.training else ""


def moved(t: Trial, move: Move, *, inputs: Any = None, state: Tree = ...) -> Result:
    """The results after a move of the input, of leaves of the initial state, or of parameters; all is put back."""
    given = (t.input if inputs is None else inputs) + move.get("input", 0)
    start = clone(t.state if state is ... else state)
    for name, leaf in state_leaves(start):
        leaf.add_(move.get(f"initial {name}", 0))
    parameters = {f"parameter {name}": value for name, value in t.subject.parameters_of().items()}
    kept = {name: parameters[name].detach().clone() for name in move if name in parameters}
    try:
        with torch.no_grad():
            for name in kept:
                parameters[name].add_(move[name])
        return t.call(given, start)
    finally:
        with torch.no_grad():
            for name, value in kept.items():
                parameters[name].copy_(value)


def values_of(t: Trial, names: Iterable[str]) -> dict[str, Tensor]:
    """What stands under the names of `Trial.gradients`: input, leaves of the initial state, parameters."""
    found = {"input": t.input}
    found |= {f"initial {name}": leaf for name, leaf in state_leaves(t.state)}
    found |= {f"parameter {name}": value for name, value in t.subject.parameters_of().items()}
    return {name: found[name] for name in names if name in found}


def direction(like: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """A random direction of unit length in all of the given tensors together."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {
        name: torch.randn(leaf.shape, dtype=torch.float64, generator=generator).to(leaf.dtype)
        for name, leaf in like.items()
    }
    length = sum(float(part.square().sum()) for part in drawn.values()) ** 0.5
    return {name: part / length if length else part for name, part in drawn.items()}


def other_draws(t: Trial) -> Iterator[Draw]:
    """The same case with other values, several times.

    First with other seeds, then with room (sizes of at least three), at last with all values of one sign: what a unit
    that happens to be switched off hides, or a size of one, does not stay hidden.
    """
    for seed in (1, 2, 3):
        other = _drawn(t, seed, {})
        yield other, other.input, other.state
    room = _room(t)
    other = _drawn(t, 4, room)
    yield other, other.input, other.state
    signs: tuple[Callable[[Tensor], Tensor], ...] = (torch.Tensor.abs, lambda values: -values.abs())
    for seed, sign in enumerate(signs, 5):
        other = _drawn(t, seed, room)
        with torch.no_grad():
            for parameter in other.subject.module.parameters():
                parameter.copy_(sign(parameter))
        yield other, sign(other.input), map_tree(sign, other.state)


def variant(t: Trial, **changes: Any) -> Trial:
    """A trial of the case with some of its fields replaced, in the same mode."""
    other = Trial(replace(t.case, **changes), t.contract, t.factory)
    other.subject.module.train(t.subject.module.training)
    return other


def _drawn(t: Trial, seed: int, sizes: Mapping[str, Any]) -> Trial:
    case = t.case
    return variant(
        t,
        hyperparameters={**case.hyperparameters, **sizes},
        parameter_seed=case.parameter_seed + seed,
        input=replace(case.input, seed=case.input.seed + seed),
        state=None if case.state is None else replace(case.state, seed=case.state.seed + seed),
    )


def _room(t: Trial) -> dict[str, Any]:
    """For sizes that are small the largest of their domain."""
    found: dict[str, Any] = {}
    for role in ("input_size", "hidden_size", "output_size"):
        name = t.contract.roles.get(role, "")
        domain, value = t.contract.hyperparameters.get(name), t.case.hyperparameters.get(name)
        if isinstance(domain, Domain) and isinstance(value, int) and value < _ROOM:
            found[name] = max((size for size in domain.values if isinstance(size, int)), default=value)
    broken = t.contract.broken_constraint({**t.case.hyperparameters, **found})
    return {} if broken is not None else found


def elsewhere(t: Trial) -> list[Trial]:
    """Other lengths, the module's own initial state and the other mode: where a parameter may have its part, before it
    is said to have none."""
    others = [variant(t, seq_len=length) for length in _OTHER_LENGTHS if not t.contract.one_step]
    others += from_own_state(t)
    switched = variant(t)
    switched.subject.module.train(not t.subject.module.training)
    try:
        switched.call()
    except TargetRaisedError:
        return others
    return [*others, switched]


def from_own_state(t: Trial) -> list[Trial]:
    """The case without its initial state, where it has one that may be left out: a drawn state may be none that the
    module ever reaches, such as half a step where it counts steps."""
    return [variant(t, state=None)] if t.state is not None and t.contract.capabilities.optional_state else []


def row_name(leaf: str, row: int) -> str:
    """The name of one layer's and direction's row of a leaf of the state."""
    return f"{leaf}[layer and direction {row}]"


def matters(draws: Sequence[Draw], name: str, of: Callable[[Result], Any]) -> bool:
    """Whether a small change of what has this name (of `values_of` or `row_name`) changes results in some draw."""
    whole, of_row, row = name.partition("[layer and direction ")
    for t, inputs, state in draws:
        for value in values_of(t, [whole]).values():
            move = torch.zeros_like(value)
            part = move[int(row.rstrip("]"))] if of_row else move
            part.copy_(1e-2 * direction({whole: part}, 3)[whole])
            before, after = t.call(inputs, state), moved(t, {whole: move}, inputs=inputs, state=state)
            if t.changed(of(after), of(before)):
                return True
    return False
