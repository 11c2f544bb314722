"""Hypothesis strategies for tests of recurrent modules: to use under `@given`.

They draw recipes, small integers and seeds, and make tensors from them: quick to draw, quick to shrink, and the same
values on every device. Wherever a size, a value or a dtype is given, a strategy of your own may stand in its place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from rnn_props.cases import Case, Needs, Source, TensorSpec, faults_for
from rnn_props.cases import strategies as drawing
from rnn_props.cases.needs import INPUT_FILLS
from rnn_props.cases.space import MAX_SEED, row_lengths
from rnn_props.cases.stories import stories
from rnn_props.checks import Check, select
from rnn_props.contracts import Contract, ShapeRule, Structure, map_structure, parse_structure

__all__ = ["cases", "faults", "hyperparameters", "inputs", "lengths", "splits", "states"]

#: What a letter of a shape rule is drawn from where no size is given for it, simplest first.
_LETTERS: Mapping[str, tuple[int, ...]] = {"T": (1, 2, 3, 4, 5, 8), "B": (1, 2, 3, 4), "L": (1, 2, 3), "D": (1, 2)}
_SIZES = (1, 2, 3, 4, 5, 7)


def hyperparameters(contract: Contract) -> SearchStrategy[dict[str, Any]]:
    """Constructor arguments that are valid by a contract, its constraints included.

    Args:
        contract: whose `hyperparameters` say what is drawn; Hypothesis strategies among them are used as they are.
    """
    return drawing.hyperparameters(contract)


def cases(
    contract: Contract,
    check: str | None = None,
    *,
    needs: Needs | None = None,
    replace: Mapping[str, SearchStrategy[Any]] | None = None,
) -> SearchStrategy[Case]:
    """Whole examples: hyperparameters, sizes, seeds, initial state, lengths, splits; `repr` of one is its code.

    Args:
        contract: what they are valid for.
        check: the code or name of a check, to draw what that check is run on, its faults included.
        needs: the part of all cases to draw from, in place of a check's; everything by default.
        replace: strategies for some dimensions (`T`, `B`, `fill`, `dtype`, `hp:hidden_size`, ...) in place of ours.

    Raises:
        ValueError: there is no such check, no case meets its needs, or `replace` names a dimension that there is not.
    """
    if check is None:
        return drawing.cases(contract, needs, replace)
    if needs is not None:
        raise ValueError("give a check or needs, not both: a check has its own needs")
    found = _one(check)
    drawn = drawing.cases(contract, found.needs, replace)
    prepare = found.prepare
    if prepare is not None:
        drawn = drawn.map(lambda case: prepare(case, contract))
    if found.needs.story:
        drawn = st.tuples(drawn, stories()).map(lambda pair: dataclasses.replace(pair[0], story=pair[1]))
    return _with_fault(drawn, contract, found.needs.faults) if found.needs.faults else drawn


def faults(contract: Contract, family: str = "any") -> SearchStrategy[Case]:
    """Cases with one deliberate defect each; `rnn_props.testing.make_call` makes the call, `judge` reads it.

    A fault may happen to make no invalid call, such as a state of batch 1 for a batch of 1: ask the judge.

    Args:
        contract: what is broken.
        family: `input`, `state`, `lengths`, `hyperparameters`, `call` (input and state), or `any`.

    Raises:
        ValueError: there is no such family, or no fault of it fits the contract.
    """
    families = ("input", "state", "lengths", "hyperparameters", "call", "any")
    if family not in families:
        raise ValueError(f"family must be one of {', '.join(families)} (got {family!r})")
    absent = {
        "state": "state" if contract.state is None else "",
        "lengths": "" if contract.capabilities.packed or "lengths" in contract.arguments else "lengths or packed input",
        "hyperparameters": "" if contract.hyperparameters else "hyperparameters",
    }.get(family)
    if absent:
        raise ValueError(f"no fault of the family '{family}' fits the contract: it has no {absent}")
    states = ("random",) if contract.state is not None else ("none",)
    rows = ("equal", "mixed") if family == "lengths" else ("full",)
    needs = Needs(faults=family, lengths=(2, 3, 4), batches=(2, 3, 4), states=states, rows=rows, packed=True)
    return _with_fault(drawing.cases(contract, needs), contract, family)


def inputs(
    rule: str,
    *,
    dtype: torch.dtype | SearchStrategy[torch.dtype] = torch.float32,
    fills: Sequence[str] = INPUT_FILLS,
    layouts: Sequence[str] = ("contiguous",),
    **sizes: int | SearchStrategy[int],
) -> SearchStrategy[Tensor]:
    """Tensors of a shape rule such as `"B T I"`.

    Args:
        rule: their shape, as in a contract.
        dtype: of the tensors.
        fills: kinds of values, of `rnn_props.cases.FILLS`, simplest first.
        layouts: kinds of memory layout, of `rnn_props.cases.LAYOUTS`, simplest first.
        sizes: of letters, such as `I=8`; what has no size is drawn.

    Raises:
        ShapeRuleError: the rule can't be read.
        ValueError: there is no such fill or layout, or the rule has no such letter.
    """
    for fill in fills:
        Source(fill)
    for layout in layouts:
        Source(layout=layout)
    parsed = ShapeRule.parse(rule)
    sources = st.builds(Source, st.sampled_from(list(fills)), st.integers(0, MAX_SEED), st.sampled_from(list(layouts)))

    def make(drawn: tuple[dict[str, int], Source, torch.dtype]) -> Tensor:
        values, source, kind = drawn
        return TensorSpec(parsed.shape(values), kind, source, parsed.axis("T")).make()

    return st.tuples(_sizes(parsed.names, sizes), sources, _maybe(dtype)).map(make)


def states(
    rules: Structure,
    *,
    dtype: torch.dtype | SearchStrategy[torch.dtype] = torch.float32,
    fills: Sequence[str] = ("zeros", "normal"),
    layouts: Sequence[str] = ("contiguous",),
    **sizes: int | SearchStrategy[int],
) -> SearchStrategy[Any]:
    """States: any tree of shape rules such as `("L B H", "L B H")`, filled with tensors of one drawn set of sizes.

    Args and errors: as in `inputs`; each leaf has values of its own.
    """
    for fill in fills:
        Source(fill)
    for layout in layouts:
        Source(layout=layout)
    parsed = parse_structure(rules)
    names: set[str] = set()
    map_structure(lambda rule: names.update(rule.names), parsed)
    sources = st.builds(Source, st.sampled_from(list(fills)), st.integers(0, MAX_SEED), st.sampled_from(list(layouts)))

    def make(drawn: tuple[dict[str, int], Source, torch.dtype]) -> Any:
        values, source, kind = drawn
        count = iter(range(1000))

        def leaf(rule: ShapeRule) -> Tensor:
            own = dataclasses.replace(source, seed=source.seed + 7919 * next(count))
            return TensorSpec(rule.shape(values), kind, own).make()

        return map_structure(leaf, parsed)

    return st.tuples(_sizes(names, sizes), sources, _maybe(dtype)).map(make)


def lengths(
    seq_len: int, batch: int, *, kinds: Sequence[str] = ("equal", "decreasing", "increasing", "mixed", "one_short")
) -> SearchStrategy[tuple[int, ...]]:
    """The lengths of a batch's rows, the longest of them `seq_len`.

    Args:
        seq_len: of the padded batch.
        batch: how many rows.
        kinds: of `equal`, `decreasing`, `increasing`, `mixed`, `one_short` (one row of length 1), `empty_row` (one of
            length 0) and `all_empty`, simplest first.

    Raises:
        ValueError: there is no row or no step, or no such kind.
    """
    known = ("equal", "decreasing", "increasing", "mixed", "one_short", "empty_row", "all_empty")
    unknown = [kind for kind in kinds if kind not in known]
    if unknown:
        raise ValueError(f"kinds must be of {', '.join(known)} (got {unknown[0]!r})")
    if seq_len < 1 or batch < 1:
        raise ValueError(f"seq_len and batch must be at least 1 (got {seq_len} and {batch})")
    return st.tuples(st.sampled_from(list(kinds)), st.integers(0, MAX_SEED)).map(
        lambda drawn: row_lengths(drawn[0], seq_len, batch, drawn[1])
    )


def splits(seq_len: int, *, most: int = 3) -> SearchStrategy[tuple[int, ...]]:
    """Where a sequence is cut: increasing steps, each in 1..seq_len-1; none for a sequence of one step.

    Args:
        seq_len: of the sequence.
        most: the most cuts.
    """
    if seq_len < 2:
        return st.just(())
    return st.sets(st.integers(1, seq_len - 1), min_size=1, max_size=most).map(lambda cuts: tuple(sorted(cuts)))


def _one(check: str) -> Check:
    found = select([check])
    if len(found) > 1:
        raise ValueError(f"'{check}' means {len(found)} checks; name one")
    return found[0]


def _with_fault(drawn: SearchStrategy[Case], contract: Contract, family: str) -> SearchStrategy[Case]:
    """The cases, each with one of the faults that fit it."""

    def choose(case: Case) -> SearchStrategy[Case]:
        fitting = faults_for(case, contract, family)
        return st.sampled_from(fitting).map(lambda fault: dataclasses.replace(case, fault=fault))

    return drawn.filter(lambda case: bool(faults_for(case, contract, family))).flatmap(choose)


def _sizes(names: frozenset[str] | set[str], given: Mapping[str, Any]) -> SearchStrategy[dict[str, int]]:
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"the rule has no {unknown[0]!r}; it has {', '.join(sorted(names))}")
    chosen = {name: given.get(name, st.sampled_from(_LETTERS.get(name, _SIZES))) for name in sorted(names)}
    return st.fixed_dictionaries({name: _maybe(value) for name, value in chosen.items()})


def _maybe(value: Any) -> SearchStrategy[Any]:
    return value if isinstance(value, SearchStrategy) else st.just(value)
