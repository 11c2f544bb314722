"""Probing: a few calls of the simplest configuration, and what they show.

Sizes are pairwise distinct, so that each dimension of a result can be told; which axis is the batch is read from
influence, not from shapes: what is changed in one row of the batch shows in that row of the output alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_props.contracts import Contract, Domain, map_structure
from rnn_props.subjects import (
    Factory,
    Result,
    Subject,
    TargetRaisedError,
    UnusableResultError,
    expected_shapes,
    map_tree,
)
from rnn_props.targets import TargetError

#: Sizes of the probing calls, all different.
SIZES: Mapping[str, int] = {"input_size": 3, "hidden_size": 5, "output_size": 7}
_FIRST, _SECOND = 11, 13


class ProbeError(TargetError):
    """The simplest configuration can't be built or called."""


class Probe:
    """Probing calls of one target under a provisional contract."""

    def __init__(self, target: Any, contract: Contract) -> None:
        self._target = target
        self._contract = contract
        self._factory = Factory(target, contract)

    def settle(self) -> Contract:
        """The contract with everything that probing can settle.

        Raises:
            ProbeError: the simplest configuration can't be built or called.
        """
        contract = self._contract
        if contract.convention in ("model", "lengths", "stateful"):
            contract = self._hold(self._settle_layout(contract))
        if contract.convention == "stateful":
            contract = self._hold(self._settle_memory(contract))
        hyperparameters = self.simplest()
        subject = self._usable(hyperparameters)
        contract = self._hold(self._without_what_is_not_implemented(contract, hyperparameters))
        capabilities = contract.capabilities
        if not capabilities.torch_contract:
            optional = contract.state is None or self._works(subject, self._inputs())
            capabilities = replace(capabilities, optional_state=optional)
            self._contract = contract = replace(contract, capabilities=capabilities)
        names = {name for name, _ in subject.module.named_parameters()}
        if contract.torch_module is not None:
            marks = {"weight_ih", "weight_hh"} if contract.convention == "cell" else {"weight_ih_l0", "weight_hh_l0"}
            capabilities = replace(capabilities, torch_weights=marks <= names)
        if not capabilities.torch_contract:
            unbatched = contract.convention in ("rnn", "cell") and self._gives(subject, batched=False)
            capabilities = replace(
                capabilities,
                unbatched=unbatched,
                empty_batch=self._works(subject, self._inputs(batch=0)),
                dtypes=("float64", "float32", *(dtype for dtype in ("bfloat16", "float16") if self._runs_in(dtype))),
            )
        self._contract = contract = replace(contract, capabilities=capabilities)
        if contract.convention == "rnn":
            contract = self._settle_packed(contract, subject)
        if "lengths" in contract.arguments:
            contract = self._settle_lengths(contract, subject)
        if not self._runs_in("float64"):
            contract = replace(contract, logic_dtype="float32").with_evidence(
                "the simplest call does not run in float64: logic is checked in float32"
            )
        return contract

    def _hold(self, contract: Contract) -> Contract:
        """Go on under what is settled so far."""
        self._contract = contract
        self._factory = Factory(self._target, contract)
        return contract

    def returns(self, sizes: Mapping[str, Any], inputs: Tensor, *, state_required: bool) -> str:
        """What kind of thing a call gives: `tensor`, `pair of tensors`, `output and tensor`, `output and pair`, or ''.

        Where the state must be given, zeros are tried as `(1, B, H)` and `(B, H)`, in one tensor and in two.
        """
        hidden = sizes["hidden_size"]
        batch = inputs.shape[-2]
        flat, layered = torch.zeros(batch, hidden), torch.zeros(1, batch, hidden)
        states = [flat, (flat, flat), layered, (layered, layered)] if state_required else [None]
        for state in states:
            try:
                subject = self._factory.subject(sizes, 0, dtype="float32")
                value = subject.call_raw(inputs, state)
            except (TargetRaisedError, UnusableResultError):
                continue
            kind = _kind_of(value, inputs)
            if kind:
                return kind
        return ""

    def fits(self) -> bool:
        """Whether the simplest call gives output and state of the contract's shapes."""
        hyperparameters = self.simplest()
        rules = self._contract.rules(hyperparameters)
        sizes = self._contract.sizes(hyperparameters, _FIRST, _SECOND)
        for state in (None, self._zeros(hyperparameters)):
            try:
                subject = self._factory.subject(hyperparameters, 0, dtype="float32")
                result = subject.call(self._inputs(), state)
            except (TargetRaisedError, UnusableResultError):
                continue
            found = [result.state] if rules.output is None else [result.output, result.state]
            wanted = [rules.state] if rules.output is None else [rules.output, rules.state]
            return bool(_shapes(found) == _shapes(expected_shapes(wanted, sizes)))
        return False

    def simplest(self) -> dict[str, Any]:
        """The simplest hyperparameters, with the sizes of the probe."""
        drawn: dict[str, Any] = {}
        for name, domain in self._contract.hyperparameters.items():
            role = next((role for role, argument in self._contract.roles.items() if argument == name), "")
            if not isinstance(domain, Domain):
                raise TargetError(f"the contract draws '{name}' from a strategy, which can't be probed")
            drawn[name] = SIZES[role] if role in SIZES and len(domain.values) > 1 else domain.values[0]
            if role == "batch_first" and len(domain.values) > 1:
                drawn[name] = False
        return drawn

    def _usable(self, hyperparameters: Mapping[str, Any]) -> Subject:
        try:
            subject = self._factory.subject(hyperparameters, 0, dtype="float32")
            self._call(subject, self._inputs())
        except (TargetRaisedError, UnusableResultError) as error:
            if self._contract.state is not None and isinstance(error, TargetRaisedError):
                return self._with_state(hyperparameters, error)
            raise ProbeError(_unusable(error)) from error
        return subject

    def _with_state(self, hyperparameters: Mapping[str, Any], error: TargetRaisedError) -> Subject:
        """The subject where it works only with a state that is given."""
        try:
            subject = self._factory.subject(hyperparameters, 0, dtype="float32")
            subject.call(self._inputs(), self._zeros(hyperparameters))
        except (TargetRaisedError, UnusableResultError):
            raise ProbeError(_unusable(error)) from error
        return subject

    def _zeros(self, hyperparameters: Mapping[str, Any]) -> Any:
        sizes = self._contract.sizes(hyperparameters, _FIRST, _SECOND)
        rules = self._contract.rules(hyperparameters).state
        return map_structure(lambda rule: torch.zeros(rule.shape(sizes)), rules)

    def _inputs(self, *, batch: int = _SECOND, batched: bool = True) -> Tensor:
        hyperparameters = self.simplest()
        rule = self._contract.rules(hyperparameters, batched=batched).input
        shape = rule.shape({"I": SIZES["input_size"], **self._contract.sizes(hyperparameters, _FIRST, batch)})
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def _call(self, subject: Subject, inputs: Tensor) -> Result:
        return subject.call(inputs, None)

    def _works(self, subject: Subject, inputs: Tensor) -> bool:
        try:
            self._call(subject, inputs)
        except (TargetRaisedError, UnusableResultError):
            return False
        return True

    def _gives(self, subject: Subject, *, batched: bool) -> bool:
        """Whether an input with or without batch dimension gives an output of the rank that goes with it."""
        rules = self._contract.rules(self.simplest(), batched=batched)
        try:
            result = self._call(subject, self._inputs(batched=batched))
        except (TargetRaisedError, UnusableResultError):
            return False
        if rules.output is None:
            return isinstance(result.state, Tensor | tuple)
        return isinstance(result.output, Tensor) and result.output.dim() == len(rules.output)

    def _runs_in(self, dtype: str) -> bool:
        hyperparameters = self.simplest()
        try:
            subject = self._factory.subject(hyperparameters, 0, dtype=dtype)
            state = None
            if not self._contract.capabilities.optional_state:
                wanted = getattr(torch, dtype)
                state = map_tree(lambda leaf: leaf.to(wanted), self._zeros(hyperparameters))
            subject.call(self._inputs().to(getattr(torch, dtype)), state)
        except (TargetRaisedError, UnusableResultError):
            return False
        return True

    def _without_what_is_not_implemented(self, contract: Contract, simplest: Mapping[str, Any]) -> Contract:
        """The contract without the values for which the constructor itself says that they are not implemented."""
        domains = dict(contract.hyperparameters)
        for name, domain in contract.hyperparameters.items():
            if not isinstance(domain, Domain):
                continue
            left_out: dict[Any, str] = {}
            for value in domain.values:
                try:
                    self._factory.module({**simplest, name: value}, 0)
                except TargetRaisedError as raised:
                    if isinstance(raised.error, NotImplementedError):
                        left_out[value] = str(raised.error)
                except UnusableResultError:
                    continue
            kept = tuple(value for value in domain.values if value not in left_out)
            if left_out and kept:
                domains[name] = Domain(domain.kind, kept)
                values = ", ".join(repr(value) for value in left_out)
                reason = next(iter(left_out.values())) or "NotImplementedError"
                contract = contract.with_evidence(f"{name}={values} is left out: the constructor says '{reason}'")
        return replace(contract, hyperparameters=domains)

    # -- what goes in beside a dense batch -----------------------------------------------------------------------

    def _settle_packed(self, contract: Contract, subject: Subject) -> Contract:
        """Whether packed sequences are taken, and whether only sorted ones are."""
        batch_first = contract.rules(self.simplest()).input.axis("B") == 0
        state = None if contract.capabilities.optional_state else self._zeros(self.simplest())
        lengths = [_FIRST - row % 4 for row in range(_SECOND)]
        taken: dict[bool, str] = {}
        for in_order in (True, False):
            packed = pack_padded_sequence(
                self._inputs(),
                torch.tensor(sorted(lengths, reverse=True) if in_order else lengths),
                batch_first=batch_first,
                enforce_sorted=in_order,
            )
            try:
                subject.call(packed, state)
            except (TargetRaisedError, UnusableResultError) as error:
                taken[in_order] = str(error).partition("\n")[0]
        capabilities = replace(contract.capabilities, packed=True not in taken, sorted_only=list(taken) == [False])
        contract = replace(contract, capabilities=capabilities)
        if True in taken:
            return contract.with_evidence(f"packed sequences are not taken: {taken[True]}")
        return contract.with_evidence(
            "packed sequences are taken" + (f", sorted ones only: {taken[False]}" if taken else "")
        )

    def _settle_lengths(self, contract: Contract, subject: Subject) -> Contract:
        """Whether rows of length zero are taken, and whether the output is zero beyond a row's length."""
        rules = contract.rules(self.simplest())
        state = None if contract.capabilities.optional_state else self._zeros(self.simplest())
        lengths = [_FIRST - row % 4 for row in range(_SECOND)]
        try:
            subject.call(self._inputs(), state, lengths=[0, *lengths[1:]])
            zero_lengths = True
        except (TargetRaisedError, UnusableResultError):
            zero_lengths = False
        contract = replace(contract, capabilities=replace(contract.capabilities, zero_lengths=zero_lengths))
        contract = contract.with_evidence(f"rows of length zero are {'taken' if zero_lengths else 'not taken'}")
        assert rules.output is not None
        time, batch = rules.output.axis("T"), rules.output.axis("B")
        if time is None or batch is None:
            return contract
        output = subject.call(self._inputs(), state, lengths=lengths).output.movedim((batch, time), (0, 1))
        beyond = torch.cat([row[length:].flatten() for row, length in zip(output, lengths, strict=False)])
        if bool((beyond == 0).all()):
            return replace(contract, padding=0.0).with_evidence("beyond a row's length the output is zero")
        return contract.with_evidence("beyond a row's length the output is not zero: nothing is agreed on it")

    def _settle_memory(self, contract: Contract) -> Contract:
        """Whether a module with a reset method keeps anything between calls."""
        subject = self._usable(self.simplest())
        inputs = self._inputs()
        first = subject.call(inputs).output.clone()
        going_on = subject.call(inputs, going_on=True).output
        if torch.equal(first, going_on):
            return replace(contract, convention="model", reset="").with_evidence(
                f"{contract.reset}() changes nothing: two calls in turn give the same"
            )
        capabilities = replace(contract.capabilities, stateful=True)
        return replace(contract, capabilities=capabilities).with_evidence(
            f"it keeps its state between calls until {contract.reset}() is called, which is done before each sequence"
        )

    # -- the layout of a module that hides its state ------------------------------------------------------------

    def _settle_layout(self, contract: Contract) -> Contract:
        hyperparameters = self.simplest()
        sizes = contract.sizes(hyperparameters, 0, 0)
        subject, inputs, output = self._first_call(contract, hyperparameters, sizes)
        features = inputs.shape[-1]
        if not isinstance(output, Tensor):
            raise ProbeError(
                f"a call with an input of shape ({_FIRST}, {_SECOND}, {features}) gave a {type(output).__name__}; "
                "expected a tensor, or a tuple that begins with one"
            )

        def call(changed: Tensor) -> Any:
            # What a stateful module keeps although it was reset must not be taken for influence.
            stateful = contract.convention == "stateful"
            fresh = self._factory.subject(hyperparameters, 0, dtype="float32") if stateful else subject
            return fresh.call(changed).output

        axes = [_axis_of(output, size) for size in (_FIRST, _SECOND)]
        influence = [
            None if axis is None else _influence(call, inputs, which, axis, output) for which, axis in enumerate(axes)
        ]
        batch_axis, evidence = _which_is_batch(influence, subject.module, tuple(output.shape))
        time = influence[1 - batch_axis]
        causal = time is None or bool(torch.equal(time, time.tril()))
        letters = {axes[batch_axis]: "B", axes[1 - batch_axis]: "T"}
        dimensions = []
        for place, size in enumerate(output.shape):
            dimensions.append(letters.get(place) or self._feature_rule(contract, size, sizes, hyperparameters))
        layout = "B T I" if batch_axis == 0 else "T B I"
        if "I" not in sizes:
            layout = layout.replace("I", str(features))
        if contract.roles.get("batch_first") and batch_axis == 0:
            evidence += "; batch_first=False gave this layout too, so batch_first changes nothing"
            contract = replace(
                contract, roles={role: name for role, name in contract.roles.items() if role != "batch_first"}
            )
        rule = " ".join(dimensions)
        time_text = (
            "the output has no time axis" if time is None else "outputs depend on inputs up to their step"
            if causal else "outputs depend on later inputs too"
        )  # fmt: skip
        return replace(
            contract, input=layout, output=rule, capabilities=replace(contract.capabilities, causal=causal)
        ).with_evidence(
            f"an input of shape {tuple(inputs.shape)} gave an output of shape {tuple(output.shape)}",
            evidence,
            time_text,
        )

    def _first_call(
        self, contract: Contract, hyperparameters: Mapping[str, Any], sizes: Mapping[str, int]
    ) -> tuple[Subject, Tensor, Any]:
        """A call that works. Where no argument is known for the input's features, the user's own values are tried."""
        given = [value for value in contract.fixed.values() if type(value) is int and value > 0]
        candidates = [sizes["I"]] if "I" in sizes else [SIZES["input_size"], *given]
        # Lengths must fit the layout, which is not known yet: the one that they fit is tried out.
        layouts = ("B T I", "T B I") if contract.convention == "lengths" else (contract.input,)
        first_error: TargetRaisedError | UnusableResultError | None = None
        for features, layout in itertools.product(candidates, layouts):
            try:
                factory = Factory(self._target, replace(contract, input=layout))
                subject = factory.subject(hyperparameters, 0, dtype="float32")
                inputs = torch.randn(_FIRST, _SECOND, features, generator=torch.Generator().manual_seed(0))
                return subject, inputs, subject.call(inputs).output
            except (TargetRaisedError, UnusableResultError) as error:
                first_error = first_error or error
        assert first_error is not None
        raise ProbeError(_unusable(first_error)) from first_error

    def _feature_rule(
        self, contract: Contract, size: int, sizes: Mapping[str, int], hyperparameters: Mapping[str, Any]
    ) -> str:
        """The rule of a dimension that is neither batch nor time: a letter where one has this size."""
        if size == sizes.get("O"):
            return "O"
        if size == sizes.get("H"):
            return self._directed("H", contract, hyperparameters, sizes["H"])
        if size == sizes.get("I"):
            return "I"
        if "H" in sizes and size == 2 * sizes["H"]:
            return "2*H"
        return str(size)

    def _directed(self, letter: str, contract: Contract, hyperparameters: Mapping[str, Any], size: int) -> str:
        """Whether two directions double the width: the one rule for which a second configuration is built."""
        name = contract.roles.get("bidirectional")
        if name is None:
            return letter
        try:
            subject = self._factory.subject({**hyperparameters, name: True}, 0, dtype="float32")
            output = subject.call(torch.zeros(_FIRST, _SECOND, hyperparameters[contract.roles["input_size"]])).output
        except (TargetRaisedError, UnusableResultError, KeyError):
            return letter
        return f"D*{letter}" if isinstance(output, Tensor) and 2 * size in output.shape else letter


def _shapes(tree: Any) -> Any:
    """The shapes in a tree; lists and tuples count alike."""
    if isinstance(tree, Tensor):
        return tuple(tree.shape)
    if isinstance(tree, tuple | list) and not all(isinstance(item, int) for item in tree):
        return [_shapes(item) for item in tree]
    return tree


def _kind_of(value: Any, inputs: Tensor) -> str:
    if isinstance(value, Tensor):
        return "tensor"
    if not isinstance(value, tuple | list) or len(value) != 2:
        return ""
    if isinstance(value[0], Tensor) and isinstance(value[1], Tensor):
        return "output and tensor" if inputs.dim() == 3 else "pair of tensors"
    if isinstance(value[0], Tensor) and isinstance(value[1], tuple | list) and len(value[1]) == 2:
        return "output and pair"
    return ""


def _axis_of(output: Tensor, size: int) -> int | None:
    return next((axis for axis, length in enumerate(output.shape) if length == size), None)


def _influence(call: Callable[[Tensor], Any], inputs: Tensor, which: int, axis: int, base: Tensor) -> Tensor:
    """Which indices of an output axis move when one index of an input axis is changed: entry (output, input)."""
    size = inputs.shape[which]
    moved = torch.zeros(size, size, dtype=torch.bool)
    for index in range(size):
        changed = inputs.clone()
        changed.select(which, index).add_(1.0)
        output = call(changed)
        gap = (output - base).abs().movedim(axis, 0).reshape(size, -1)
        moved[:, index] = gap.amax(1) > 1e-6 * float(base.abs().max())
    return moved


def _which_is_batch(influence: list[Tensor | None], module: nn.Module, shape: tuple[int, ...]) -> tuple[int, str]:
    """Which of the first two input axes is the batch, and how that is known."""
    diagonal = [matrix is not None and bool(torch.equal(matrix, matrix & torch.eye(len(matrix), dtype=torch.bool)))
                for matrix in influence]  # fmt: skip
    names = ("first", "second")
    if diagonal[0] != diagonal[1]:
        batch = 0 if diagonal[0] else 1
        return batch, f"a change in one row of the {names[batch]} axis shows in that row of the output alone: the batch"
    inside = {part.batch_first for part in module.modules() if isinstance(part, nn.RNNBase)}
    if len(inside) == 1:
        first = inside.pop()
        return (0 if first else 1), f"a layer inside has batch_first={first}"
    if diagonal[0] and diagonal[1]:
        return 0, "no step has an effect on another; the first axis is taken for the batch"
    present = [matrix is not None for matrix in influence]
    if present[0] != present[1]:
        batch = 0 if present[0] else 1
        return batch, f"the {names[batch]} axis is the one that the output keeps: the batch"
    raise ProbeError(
        f"which axis of the input is the batch cannot be told: a change in any row shows in others (output {shape}); "
        "give a Contract with input='B T I' or input='T B I'"
    )


def _unusable(error: TargetRaisedError | UnusableResultError) -> str:
    text = f"its simplest configuration does not work: {error}"
    if isinstance(error, TargetRaisedError) and error.where:
        text += f"\n  at {error.where}"
    return text
