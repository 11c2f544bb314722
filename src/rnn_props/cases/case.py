"""The case: one generated example, as a frozen record of small integers, booleans and strings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnn_props.cases.specs import Source, TensorSpec
from rnn_props.contracts import Contract, ShapeRule, map_structure
from rnn_props.subjects import DTYPES, Tree

#: One step of a story: what is done, and two small integers that say to what and how.
Step = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Fault:
    """One deliberate defect: its name, such as `state.batch_one`, and where it is put.

    Attributes:
        name: family and kind.
        leaf: which leaf of the state, or -1 for all of them.
        argument: which hyperparameter.
    """

    name: str
    leaf: int = -1
    argument: str = ""

    @property
    def family(self) -> str:
        return self.name.partition(".")[0]

    @property
    def key(self) -> str:
        """What tells this kind of fault from others in a report."""
        return f"{self.name}({self.argument})" if self.argument else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One example, complete: the same case gives the same run everywhere.

    Attributes:
        hyperparameters: constructor arguments.
        seq_len, batch: the sizes T and B.
        batched: whether tensors have the batch dimension.
        dtype: of parameters, input and state.
        parameter_seed, parameter_scale: parameters come from the module's own initialiser under the seed, and are
            multiplied by the scale.
        input: the input's values and layout.
        state: those of the initial state, or None to leave it out.
        splits: where the sequence is cut, increasing, each in 1..T-1.
        lengths: each row's own length, in the caller's order; empty where every row has all steps.
        packing: how rows of these lengths go in: `sorted` or `unsorted` (packed, with and without enforce_sorted), or
            "" for a padded batch with its lengths beside it.
        story: steps of the state machine: an operation and two small integers each.
        picks: small integers for a check's own choices (which row, which step); used modulo what there is.
        fault: the defect, or None.
    """

    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    seq_len: int = 1
    batch: int = 1
    batched: bool = True
    dtype: str = "float64"
    parameter_seed: int = 0
    parameter_scale: float = 1.0
    input: Source = field(default_factory=Source)
    state: Source | None = None
    splits: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()
    packing: str = ""
    story: tuple[Step, ...] = ()
    picks: tuple[int, ...] = ()
    fault: Fault | None = None

    def to_json(self) -> dict[str, Any]:
        """The case as JSON data; fields at their defaults are left out."""
        data: dict[str, Any] = {}
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value == default:
                continue
            if isinstance(value, Source | Fault):
                data[name] = _record_to_json(value)
            elif name == "hyperparameters":
                data[name] = {key: list(item) if isinstance(item, tuple) else item for key, item in value.items()}
            elif name == "story":
                data[name] = [list(step) for step in value]
            else:
                data[name] = list(value) if isinstance(value, tuple) else value
        return data

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Case:
        """The case that `to_json` wrote.

        Raises:
            ValueError: a field that no case has.
        """
        unknown = sorted(set(data) - set(_DEFAULTS))
        if unknown:
            raise ValueError(f"a case has no field {unknown[0]!r}; its fields are {', '.join(_DEFAULTS)}")
        fields: dict[str, Any] = dict(data)
        for name in ("input", "state"):
            if fields.get(name) is not None:
                fields[name] = Source(**_tuples(fields[name]))
        if fields.get("fault") is not None:
            fields["fault"] = Fault(**fields["fault"])
        for name in ("splits", "lengths", "picks"):
            if name in fields:
                fields[name] = tuple(fields[name])
        if "story" in fields:
            fields["story"] = tuple((str(kind), int(one), int(two)) for kind, one, two in fields["story"])
        if "hyperparameters" in fields:
            fields["hyperparameters"] = _tuples(fields["hyperparameters"])
        return Case(**fields)

    @property
    def case_id(self) -> str:
        """Six hexadecimal digits that follow from the content alone."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:6]

    def __repr__(self) -> str:
        """The code that rebuilds the case."""
        parts = []
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value != default:
                parts.append(f"{name}={_record_repr(value)}")
        return f"Case({', '.join(parts)})"


_DEFAULTS: Mapping[str, Any] = {
    "hyperparameters": {},
    "seq_len": 1,
    "batch": 1,
    "batched": True,
    "dtype": "float64",
    "parameter_seed": 0,
    "parameter_scale": 1.0,
    "input": Source(),
    "state": None,
    "splits": (),
    "lengths": (),
    "packing": "",
    "story": (),
    "picks": (),
    "fault": None,
}


def input_spec(case: Case, contract: Contract) -> TensorSpec:
    """The recipe of the case's input under a contract."""
    rule = contract.rules(case.hyperparameters, batched=case.batched).input
    shape = rule.shape(contract.sizes(case.hyperparameters, case.seq_len, case.batch))
    return TensorSpec(shape, DTYPES[case.dtype], case.input, rule.axis("T"))


def pack(case: Case, contract: Contract, padded: Tensor) -> PackedSequence:
    """A padded batch packed by the case's lengths."""
    lengths = torch.tensor(case.lengths, dtype=torch.int64)
    batch_first = contract.rules(case.hyperparameters).input.axis("B") == 0
    return pack_padded_sequence(padded, lengths, batch_first=batch_first, enforce_sorted=case.packing == "sorted")


def make_input(case: Case, contract: Contract) -> Tensor | PackedSequence:
    """The case's input as it goes into the module: packed where the case says so."""
    padded = input_spec(case, contract).make()
    return pack(case, contract, padded) if case.packing else padded


def make_state(case: Case, contract: Contract, source: Source | None = None, dtype: str | None = None) -> Tree:
    """The case's initial state as tensors (None where the case leaves it out); each leaf has a seed of its own."""
    source = source or case.state
    if source is None or contract.state is None:
        return None
    sizes = contract.sizes(case.hyperparameters, case.seq_len, case.batch)
    count = iter(range(1000))

    def leaf(rule: ShapeRule) -> Any:
        own = Source(source.fill, source.seed + 7919 * next(count), source.layout, source.values)
        made = TensorSpec(rule.shape(sizes), DTYPES[dtype or case.dtype], own).make()
        return made.abs_() if contract.capabilities.positive_state and own.layout != "expanded" else made

    return map_structure(leaf, contract.rules(case.hyperparameters, batched=case.batched).state)


def _record_to_json(record: Source | Fault) -> dict[str, Any]:
    data: dict[str, Any] = {}
    simplest = Source() if isinstance(record, Source) else Fault("")
    for name in record.__slots__:
        value = getattr(record, name)
        if value != getattr(simplest, name):
            data[name] = list(value) if isinstance(value, tuple) else value
    return data


def _record_repr(value: Any) -> str:
    if isinstance(value, Source | Fault):
        inside = ", ".join(f"{name}={item!r}" for name, item in _tuples(_record_to_json(value)).items())
        return f"{type(value).__name__}({inside})"
    return repr(value)


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
