"""The space of cases for a contract and a check's needs: named dimensions, each with its values, simplest first.

Covering pairs, random drawing and shrinking all read the same space, so none knows a value that the others lack.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnn_props.cases.case import Case
from rnn_props.cases.needs import INPUT_FILLS, Needs
from rnn_props.cases.specs import LAYOUTS, Source, own_fills
from rnn_props.contracts import Contract, Domain

#: Sizes made equal on purpose: equal sizes turn errors into silent wrongness.
COINCIDENCES = ("none", "B=T", "B=H", "I=H", "B=L*D", "T=H")
MAX_SEED = 999


@dataclass(frozen=True, slots=True)
class Space:
    """Dimensions of a case by name. Hyperparameters are `hp:NAME`."""

    contract: Contract
    needs: Needs
    dimensions: Mapping[str, tuple[Any, ...]]
    opaque: Mapping[str, Any]

    @staticmethod
    def of(contract: Contract, needs: Needs) -> Space:
        """The dimensions that vary under this contract for these needs."""
        dimensions: dict[str, tuple[Any, ...]] = {}
        opaque: dict[str, Any] = {}
        allowed = {contract.roles[role]: values for role, values in needs.roles.items() if role in contract.roles}
        for name, domain in contract.hyperparameters.items():
            if not isinstance(domain, Domain):
                opaque[name] = domain
            elif name in allowed:
                dimensions[f"hp:{name}"] = tuple(value for value in domain.values if value in allowed[name])
            else:
                dimensions[f"hp:{name}"] = domain.values
        has_time = " T " in f" {contract.input} "
        lengths = needs.lengths if has_time else (1,)
        dimensions["T"] = tuple(length for length in lengths if length > 1) if needs.splits and has_time else lengths
        dimensions["B"] = needs.batches
        either = (True, False) if contract.capabilities.unbatched else (True,)
        dimensions["batched"] = either if needs.batched is None else (needs.batched,)
        states = ("none",) if contract.state is None else needs.states
        if contract.capabilities.positive_state:
            states = tuple(kind for kind in states if kind != "zeros")  # the edge: log(0) has no gradient
        dimensions["state"] = states if contract.capabilities.optional_state else _given(states)
        dimensions["dtype"] = contract.capabilities.dtypes if needs.dtypes == "each" else (contract.logic_dtype,)
        dimensions["fill"] = (*needs.fills, *own_fills()) if needs.fills == INPUT_FILLS else needs.fills
        dimensions["rows"] = _rows(contract, needs)
        dimensions["layout"] = needs.layouts
        if states != ("none",):
            dimensions["state_layout"] = needs.layouts
        dimensions["scale"] = needs.scales
        dimensions["coincidence"] = COINCIDENCES
        return Space(contract, needs, dimensions, opaque)

    @property
    def empty_dimension(self) -> str | None:
        """A dimension without any value: no case meets the needs."""
        return next((name for name, values in self.dimensions.items() if not values), None)

    def case(
        self, point: Mapping[str, Any], *, seeds: tuple[int, int, int], splits: tuple[int, ...], picks: tuple[int, ...]
    ) -> Case:
        """The case at a point: a value for each dimension, and what is not a dimension (seeds, splits, picks)."""
        hyperparameters = {name: point[f"hp:{name}"] for name in self.contract.hyperparameters}
        sizes = {"T": point["T"], "B": point["B"]}
        self._coincide(point["coincidence"], hyperparameters, sizes)
        length = sizes["T"]
        parameter_seed, input_seed, state_seed = seeds
        state = None
        if point["state"] != "none":
            fill = "zeros" if point["state"] == "zeros" else "normal"
            state = Source(fill, state_seed, point.get("state_layout", LAYOUTS[0]))
        batch = sizes["B"] if point["batched"] else 1
        rows = point["rows"] if point["batched"] else "full"
        lengths = row_lengths(rows, length, batch, input_seed)
        packing = ""
        if lengths and self.needs.packed and self.contract.capabilities.packed:
            packing = "sorted" if rows in ("equal", "sorted") else "unsorted"
        return Case(
            hyperparameters=hyperparameters,
            seq_len=length,
            batch=batch,
            batched=point["batched"],
            dtype=point["dtype"],
            parameter_seed=parameter_seed,
            parameter_scale=point["scale"],
            input=Source(point["fill"], input_seed, point["layout"], point.get("values", ())),
            state=state,
            splits=tuple(sorted({1 + split % (length - 1) for split in splits})) if length > 1 else (),
            lengths=lengths,
            packing=packing,
            picks=picks,
        )

    def _coincide(self, kind: str, hyperparameters: dict[str, Any], sizes: dict[str, int]) -> None:
        """Make two sizes equal where both can have the value; leave the point alone where they can't."""
        known = self.contract.sizes(hyperparameters, sizes["T"], sizes["B"])
        if kind == "B=T":
            self._set("B", known["T"], sizes)
        elif kind == "B=H" and "H" in known:
            self._set("B", known["H"], sizes)
        elif kind == "T=H" and "H" in known:
            self._set("T", known["H"], sizes)
        elif kind == "B=L*D":
            self._set("B", known["L"] * known["D"], sizes)
        elif kind == "I=H" and "H" in known:
            name = self.contract.roles.get("input_size", "")
            if known["H"] in self.dimensions.get(f"hp:{name}", ()):
                hyperparameters[name] = known["H"]

    def _set(self, letter: str, value: int, sizes: dict[str, int]) -> None:
        if value in self.dimensions[letter]:
            sizes[letter] = value


def row_lengths(kind: str, length: int, batch: int, seed: int) -> tuple[int, ...]:
    """The lengths of the rows of a batch, the longest of them `length`; none where every row has all steps."""
    if kind == "full" or batch == 0:
        return ()
    if kind == "equal":
        return (length,) * batch
    if kind == "all_empty":
        return (0,) * batch
    draw = random.Random(f"{length} {batch} {seed}")
    lengths = [draw.randint(1, length) for _ in range(batch)]
    longest = draw.randrange(batch)
    lengths[longest] = length
    if kind in ("one_short", "empty_row") and batch > 1:
        lengths[(longest + 1) % batch] = 1 if kind == "one_short" else 0
    if kind in ("sorted", "decreasing", "increasing"):
        lengths.sort(reverse=kind != "increasing")
    return tuple(lengths)


def _rows(contract: Contract, needs: Needs) -> tuple[str, ...]:
    """The kinds of rows that the contract's module can be given."""
    capabilities = contract.capabilities
    packed = needs.packed and capabilities.packed
    if not packed and "lengths" not in contract.arguments:
        return tuple(kind for kind in needs.rows if kind == "full")
    if capabilities.sorted_only:
        # Decreasing rows may be packed with enforce_sorted=False, and such a module refuses that.
        kinds = ("full", "equal", "sorted") if packed else ("full", "equal", "sorted", "decreasing")
        return tuple(kind for kind in needs.rows if kind in kinds)
    return needs.rows


def _given(states: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(state for state in states if state != "none")
