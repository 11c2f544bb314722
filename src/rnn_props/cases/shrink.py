"""Shrinking: from a failing case to the smallest one that fails in the same way.

A case is a handful of small values, so greedy descent over its fields settles in a few dozen runs. It works the same
for cases from the covering table, from Hypothesis, from a file, and for those that kill the process.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

from rnn_props.cases.case import Case
from rnn_props.cases.needs import Needs
from rnn_props.cases.space import Space
from rnn_props.cases.specs import Source
from rnn_props.contracts import Contract, Domain

#: A generator that yields a candidate and is sent whether it still fails.
Shrinker = Generator[Case, bool, Case]


def shrink(case: Case, contract: Contract, needs: Needs, *, budget: int = 150) -> Shrinker:
    """Yield smaller candidates; send back whether each still fails; return the smallest failing case.

    Args:
        case: a failing case.
        contract, needs: what keeps candidates valid.
        budget: the most candidates to try.
    """
    space = Space.of(contract, needs)
    tried = {case.case_id}
    changed = True
    while changed and budget > 0:
        changed = False
        for candidate in _candidates(case, space):
            if candidate.case_id in tried:
                continue
            tried.add(candidate.case_id)
            if budget == 0:
                break
            budget -= 1
            if (yield candidate):
                case = candidate
                changed = True
                break
    return case


def _candidates(case: Case, space: Space) -> Iterator[Case]:
    """Simpler neighbours of a case, the boldest first."""
    yield from _bold(case, space)
    for name, value in case.hyperparameters.items():
        domain = space.contract.hyperparameters.get(name)
        if isinstance(domain, Domain):
            values = space.dimensions.get(f"hp:{name}", domain.values)
            for simpler in _before(value, values):
                candidate = replace(case, hyperparameters={**case.hyperparameters, name: simpler})
                if space.contract.broken_constraint(candidate.hyperparameters) is None:
                    yield candidate
    if case.lengths and "full" in space.needs.rows:
        yield replace(case, lengths=(), packing="")
    yield from _simpler_rows(case)
    yield from _shorter_stories(case)
    for simpler in [] if case.lengths else _before(case.seq_len, space.dimensions["T"]):
        splits = tuple(sorted({min(split, simpler - 1) for split in case.splits if simpler > 1}))
        if splits or not space.needs.splits:
            yield replace(case, seq_len=simpler, splits=splits)
    if case.batched and not case.lengths:
        for simpler in _before(case.batch, space.dimensions["B"]):
            yield replace(case, batch=simpler)
    if not case.batched and True in space.dimensions["batched"]:
        yield replace(case, batched=True)
    for simpler in _before(case.dtype, space.dimensions["dtype"]):
        yield replace(case, dtype=simpler)
    if len(case.splits) > 1:
        yield from (replace(case, splits=(split,)) for split in case.splits)
    yield replace(case, splits=tuple(range(1, len(case.splits) + 1)))
    yield from _simpler_state(case, space)
    yield from (replace(case, input=simpler) for simpler in _simpler_source(case.input))
    if case.parameter_scale != 1.0 and 1.0 in space.dimensions["scale"]:
        yield replace(case, parameter_scale=1.0)
    if case.parameter_seed:
        yield replace(case, parameter_seed=0)
    for index, pick in enumerate(case.picks):
        for simpler in [0, 1, 2][: min(pick, 3)]:
            yield replace(case, picks=(*case.picks[:index], simpler, *case.picks[index + 1 :]))


def _bold(case: Case, space: Space) -> Iterator[Case]:
    """Many fields at their simplest at once."""
    simplest = {
        name: space.dimensions.get(f"hp:{name}", domain.values)[0]
        for name, domain in space.contract.hyperparameters.items()
        if isinstance(domain, Domain) and domain.kind not in ("size",)
    }
    plain = replace(case, hyperparameters={**case.hyperparameters, **simplest})
    if space.contract.broken_constraint(plain.hyperparameters) is None:
        yield plain
    yield replace(
        case,
        parameter_seed=0,
        input=Source("normal", 0),
        state=None if case.state is None else Source(case.state.fill, 0),
        picks=(0,) * len(case.picks),
    )


def _before(value: Any, values: tuple[Any, ...]) -> list[Any]:
    """The values that are simpler: the first, the second, the one half-way, the one just before."""
    if value not in values:
        return []
    place = values.index(value)
    return [values[index] for index in sorted({0, 1, place // 2, place - 1}) if 0 <= index < place]


def _simpler_rows(case: Case) -> Iterator[Case]:
    """Fewer and shorter rows; those of length zero stay what they are, and so does the order where it matters."""
    for row in range(len(case.lengths) if len(case.lengths) > 1 else 0):
        yield from _with_lengths(case, case.lengths[:row] + case.lengths[row + 1 :])
    for row, length in enumerate(case.lengths):
        for simpler in sorted({1, length // 2, length - 1}):
            if 0 < simpler < length:
                yield from _with_lengths(case, (*case.lengths[:row], simpler, *case.lengths[row + 1 :]))


def _with_lengths(case: Case, lengths: tuple[int, ...]) -> Iterator[Case]:
    if case.packing != "sorted" or list(lengths) == sorted(lengths, reverse=True):
        yield replace(case, lengths=lengths, batch=len(lengths), seq_len=max(*lengths, 1))


def _shorter_stories(case: Case) -> Iterator[Case]:
    """A story without its end, without its beginning, without one step; then smaller numbers in it."""
    story = case.story
    if len(story) > 2:
        yield replace(case, story=story[: len(story) // 2])
        yield replace(case, story=story[len(story) // 2 :])
    if len(story) > 1:
        yield from (replace(case, story=story[:index] + story[index + 1 :]) for index in reversed(range(len(story))))
    for index, (kind, one, two) in enumerate(story):
        for smaller in ((0, 0), (0, two), (one, 0), (one, two // 2)):
            if smaller != (one, two):
                yield replace(case, story=(*story[:index], (kind, *smaller), *story[index + 1 :]))


def _simpler_state(case: Case, space: Space) -> Iterator[Case]:
    if case.state is None:
        return
    if "none" in space.dimensions["state"]:
        yield replace(case, state=None)
    if case.state.fill != "zeros" and "zeros" in space.dimensions["state"]:
        yield replace(case, state=Source("zeros"))
    yield from (replace(case, state=simpler) for simpler in _simpler_source(case.state))


def _simpler_source(source: Source) -> Iterator[Source]:
    if source.layout != "contiguous":
        yield replace(source, layout="contiguous")
    if source.fill not in ("zeros", "ones", "normal"):
        yield Source("normal", 0, source.layout)
    if source.seed and source.fill != "zeros":
        yield replace(source, seed=0)
