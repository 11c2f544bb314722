"""Probing: a few calls of the simplest configuration, and what they show.

Sizes are pairwise distinct, so that each dimension of a result can be told; which axis is the batch is read from
influence, not from shapes: what is changed in one row of the batch shows in that row of the output alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnn_props.contracts import Contract, Domain, ShapeRule, ShapeRuleError
from rnn_props.inference.beside import (
    probe_inputs,
    probe_zeros,
    settle_lengths,
    settle_memory,
    settle_packed,
    settle_spans,
)
from rnn_props.inference.calls import unusable
from rnn_props.inference.configure import FIRST, SECOND, simplest
from rnn_props.inference.layout import ProbeError
from rnn_props.inference.nature import quantised, with_nature, with_own_output
from rnn_props.subjects import (
    Factory,
    Result,
    Subject,
    TargetRaisedError,
    UnusableResultError,
    expected_shapes,
    leaves,
    map_tree,
)

#: What a module says where it refuses a value by design, and does not just fail on it.
_REFUSES = re.compile(
    r"not (yet )?(implemented|supported)|unsupported|does not support|requires bias|only supports", re.I
)


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
        if contract.reset:
            contract = self._hold(settle_memory(contract, self._usable(self.simplest())))
        hyperparameters = self.simplest()
        subject = self._usable(hyperparameters)
        contract = self._hold(quantised(contract, subject))
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
            unbatched = contract.state is not None and self._gives(subject, batched=False)
            capabilities = replace(
                capabilities,
                unbatched=unbatched,
                empty_batch=self._works(subject, self._inputs(batch=0)),
                dtypes=("float64", "float32", *(dtype for dtype in ("bfloat16", "float16") if self._runs_in(dtype))),
            )
        self._contract = contract = replace(contract, capabilities=capabilities)
        zeros = None if contract.state is None else self._zeros(hyperparameters)
        if contract.torch_module is None:
            contract = self._hold(with_nature(contract, subject, self._inputs(), zeros))
        elif not capabilities.torch_contract:
            contract = self._hold(with_own_output(contract, subject, self._inputs(), zeros))
        if contract.convention == "rnn":
            contract = settle_packed(contract, subject)
        if "time_spans" in contract.arguments:
            contract = settle_spans(contract, subject)
        if "lengths" in contract.arguments:
            contract = settle_lengths(contract, subject)
        if not self._runs_in("float64"):
            contract = replace(contract, logic_dtype="float32").with_evidence(
                "the simplest call does not run in float64: logic is checked in float32"
            )
            if contract.capabilities.per_tensor_quantised:
                contract = replace(contract, capabilities=replace(contract.capabilities, dtypes=("float32",)))
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
        sizes = self._contract.sizes(hyperparameters, FIRST, SECOND)
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
        return simplest(self._contract)

    def _usable(self, hyperparameters: Mapping[str, Any]) -> Subject:
        """The simplest subject, called once.

        Raises:
            ProbeError: it can't be built or called, or makes its parameters at its first call.
        """
        built = {
            name for name, _ in self._factory.subject(hyperparameters, 0, dtype="float32").module.named_parameters()
        }
        subject = self._called(hyperparameters)
        late = [name for name, _ in subject.module.named_parameters() if name not in built]
        if late and len(late) == sum(1 for _ in subject.module.named_parameters()):
            raise ProbeError(
                f"it makes its parameters ({late[0]}, ...) at its first call, so that no two instances can be "
                "compared; write a function that builds it and calls it once, and name that as the target"
            )
        return subject

    def _called(self, hyperparameters: Mapping[str, Any]) -> Subject:
        try:
            subject = self._factory.subject(hyperparameters, 0, dtype="float32")
            self._call(subject, self._inputs())
        except (TargetRaisedError, UnusableResultError) as error:
            if self._contract.state is not None and isinstance(error, TargetRaisedError):
                return self._with_state(hyperparameters, error)
            raise ProbeError(unusable(error)) from error
        return subject

    def _with_state(self, hyperparameters: Mapping[str, Any], error: TargetRaisedError) -> Subject:
        """The subject where it works only with a state that is given."""
        try:
            subject = self._factory.subject(hyperparameters, 0, dtype="float32")
            subject.call(self._inputs(), self._zeros(hyperparameters))
        except (TargetRaisedError, UnusableResultError):
            raise ProbeError(unusable(error)) from error
        return subject

    def _zeros(self, hyperparameters: Mapping[str, Any]) -> Any:
        return probe_zeros(self._contract, hyperparameters)

    def _inputs(
        self, *, batch: int = SECOND, batched: bool = True, hyperparameters: Mapping[str, Any] | None = None
    ) -> Tensor:
        return probe_inputs(self._contract, hyperparameters or self.simplest(), batch=batch, batched=batched)

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
        if self._contract.torch_module is None:
            return not batched and self._as_a_batch_of_one(subject, result)
        if rules.output is None:  # (H,), or (1, H) of a batch of one; (I, H) is no answer to a single step
            hidden = self._contract.sizes(self.simplest(), 1, 1)["H"]
            return all(leaf.numel() == hidden for _, leaf in leaves(result.state))
        return isinstance(result.output, Tensor) and result.output.dim() == len(rules.output)

    def _as_a_batch_of_one(self, subject: Subject, alone: Result) -> bool:
        """Whether results of an input without batch dimension are those of a batch of one, without that dimension."""
        rules = self._contract.rules(self.simplest())
        axis = rules.input.axis("B")
        assert axis is not None
        try:
            batch = self._call(subject, self._inputs(batched=False).unsqueeze(axis))
        except (TargetRaisedError, UnusableResultError):
            return False
        pairs = [(alone.output, batch.output, rules.output)] if rules.output is not None else []
        if isinstance(rules.state, ShapeRule):
            pairs.append((alone.state, batch.state, rules.state))
        elif rules.state is not None:
            return False  # a structure of several leaves: nothing is promised for it without the batch
        return all(
            isinstance(one, Tensor)
            and (place := rule.axis("B")) is not None
            and one.shape == two.squeeze(place).shape
            and torch.allclose(one, two.squeeze(place), atol=1e-6)
            for one, two, rule in pairs
        )

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
                if (reason := self._not_implemented({**simplest, name: value})) is not None:
                    left_out[value] = reason
            kept = tuple(value for value in domain.values if value not in left_out)
            if left_out and kept:
                domains[name] = Domain(domain.kind, kept)
                values = ", ".join(repr(value) for value in left_out)
                reason = next(iter(left_out.values())) or "NotImplementedError"
                contract = contract.with_evidence(f"{name}={values} is left out: it says '{reason}'")
        return replace(contract, hyperparameters=domains)

    def _not_implemented(self, hyperparameters: Mapping[str, Any]) -> str | None:
        """What the module itself says where it does not support these arguments."""
        state = None if self._contract.capabilities.optional_state else self._zeros(hyperparameters)
        try:
            subject = self._factory.subject(hyperparameters, 0, dtype="float32")
            subject.call(self._inputs(hyperparameters=hyperparameters), state)
        except TargetRaisedError as raised:
            text = str(raised.error).partition("\n")[0]
            if isinstance(raised.error, NotImplementedError) or _REFUSES.search(text):
                return text
        except (UnusableResultError, ShapeRuleError):
            return None
        return None


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
