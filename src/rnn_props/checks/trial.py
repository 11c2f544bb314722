"""A trial: one case of one check, running. Checks are written in its words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnn_props.cases import Call, Case, Source, TensorSpec, Verdict, input_spec, judge, make_call, make_state, pack
from rnn_props.contracts import CallRules, Contract, Rules, ShapeRule, map_structure
from rnn_props.numerics import UNIT_ROUNDOFF, Bound, difference, largest, sensitivity_bound
from rnn_props.subjects import (
    DTYPES,
    Factory,
    Result,
    Subject,
    TargetRaisedError,
    Tree,
    UnusableResultError,
    cut,
    leaves,
    map_tree,
    select,
    state_leaves,
    token_ids,
)


class Violation(Exception):  # noqa: N818 - the vocabulary's word
    """The property does not hold.

    `expected` and `actual` are texts, empty where the message has both; `kind` is as in a finding, and `where` the
    user's own line, if one is known.
    """

    def __init__(
        self, message: str, *, expected: str = "", actual: str = "", kind: str = "violated", where: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.actual = actual
        self.kind = kind
        self.where = where


class Advice(Violation):
    """Legal, but worth knowing: warned of, never failed."""


class Discarded(Exception):  # noqa: N818 - not an error
    """Nothing can be concluded from this case."""


@dataclass(slots=True)
class FaultOutcome:
    """How a faulty call ended: `rejected`, `accepted` or `accidental` (an exception that no validation raises)."""

    kind: str
    error: BaseException | None = None


#: Exceptions that show that the bad value was used, not that it was noticed.
ACCIDENTAL = (AttributeError, UnboundLocalError, ZeroDivisionError, KeyError, NameError, RecursionError, SystemExit)

#: Units of rounding below which a difference that no sensitivity explains is looked at more closely.
_NEAR = 2.0**16


#: Added to the seed of every tensor beside the case's own: a case's seeds are small, and a tensor that is to be another
#: one must not be the same by chance. (Torch's generator takes the lower 32 bits of a seed.)
_BESIDE = 10**9


@dataclass
class Trial:
    """One case of one check. Tensors and the subject are made when they are first asked for.

    `thorough` says that the case may take many seconds; `device` is that on which the check runs.
    """

    case: Case
    contract: Contract
    factory: Factory
    thorough: bool = False
    device: str = "cpu"
    errors: dict[str, float] = field(default_factory=dict)

    # -- what the case says -------------------------------------------------------------------------------------

    @cached_property
    def rules(self) -> CallRules:
        return self.contract.rules(self.case.hyperparameters, batched=self.case.batched)

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        return self.contract.sizes(self.case.hyperparameters, self.case.seq_len, self.case.batch)

    @cached_property
    def subject(self) -> Subject:
        """The module of the case, in eval mode."""
        return self.build()

    @cached_property
    def input(self) -> Tensor:
        return input_spec(self.case, self.contract).make()

    @cached_property
    def given(self) -> Tensor | PackedSequence:
        """The input as it goes into the module: packed where the case says so."""
        return pack(self.case, self.contract, self.input) if self.case.packing else self.input

    def exact(self, inputs: Any) -> Any:
        """Inputs as the module reads them: token ids in place of the numbers that they are made from.

        Noise on those, however small, could make another id of them, which is another input.
        """
        tokens = self.contract.tokens(self.case.hyperparameters)
        return inputs if tokens is None else token_ids(inputs, tokens)

    @property
    def lengths(self) -> tuple[int, ...] | None:
        """Each row's length, where it goes in beside a padded input."""
        return self.case.lengths if self.case.lengths and not self.case.packing else None

    @cached_property
    def state(self) -> Tree:
        """The initial state; None where the case leaves it out."""
        return make_state(self.case, self.contract)

    @property
    def carries_state(self) -> bool:
        return self.contract.state is not None

    @cached_property
    def leaf_rules(self) -> list[ShapeRule]:
        """The rule of each leaf of the state, in the order of `state_leaves`."""
        found: list[ShapeRule] = []
        map_structure(found.append, self.rules.state)
        return found

    def build(self, **hyperparameters: Any) -> Subject:
        """A further module with the same seed; keywords replace hyperparameters."""
        return self.factory.subject(
            {**self.case.hyperparameters, **hyperparameters},
            self.case.parameter_seed,
            dtype=self.case.dtype,
            scale=self.case.parameter_scale,
        )

    def other_input(self, seed: int, **sizes: int) -> Tensor:
        """Another input of the same rule; keywords replace sizes (`T=`, `B=`)."""
        shape = self.rules.input.shape({**self.sizes, **sizes})
        return TensorSpec(shape, DTYPES[self.case.dtype], Source("normal", _BESIDE + seed)).make()

    def other_state(self, seed: int, fill: str = "normal", **sizes: int) -> Tree:
        """Another state of the same rules; keywords replace sizes."""
        all_sizes = {**self.sizes, **sizes}
        count = iter(range(1000))

        def leaf(rule: ShapeRule) -> Tensor:
            spec = TensorSpec(
                rule.shape(all_sizes), DTYPES[self.case.dtype], Source(fill, _BESIDE + seed + 7919 * next(count))
            )
            return spec.make().abs() if self.contract.capabilities.positive_state else spec.make()

        return map_structure(leaf, self.rules.state)

    def pick(self, index: int, count: int) -> int:
        """The case's own choice number `index` among `count` things."""
        return self.case.picks[index] % count

    # -- calls --------------------------------------------------------------------------------------------------

    def call(self, inputs: Any = None, state: Any = ..., *, subject: Subject | None = None, **options: Any) -> Result:
        """Call the subject; without arguments, with the case's input and state."""
        given = self.given if inputs is None else inputs
        if inputs is None:
            options.setdefault("lengths", self.lengths)
        return (subject or self.subject).call(given, self.state if state is ... else state, **options)

    def steps(self, tensor: Tensor, start: int, stop: int) -> Tensor:
        """Steps `start` to `stop` of an input."""
        return cut(tensor, self.rules.input, "T", start, stop)

    def rows_of_input(self, tensor: Tensor, rows: Sequence[int]) -> Tensor:
        picked: Tensor = select(tensor, self.rules.input, "B", rows)
        return picked

    def rows_of_state(self, state: Tree, rows: Sequence[int]) -> Tree:
        return None if state is None else select(state, self.rules.state, "B", rows)

    def rows_of(self, result: Result, rows: Sequence[int]) -> Result:
        """Some rows of the batch, of output and state."""
        output = None if self.rules.output is None else select(result.output, self.rules.output, "B", rows)
        return Result(output, self.rows_of_state(result.state, rows))

    # -- gradients ----------------------------------------------------------------------------------------------

    def weights_for(self, tree: Any, seed: int = 0) -> Tree:
        """Fixed normal numbers in the shape of a tree of tensors."""
        generator = torch.Generator().manual_seed(seed)
        # Eight bits each, so that every dtype has them as they are.
        return map_tree(
            lambda leaf: torch.randn(leaf.shape, dtype=torch.float64, generator=generator).bfloat16().double(), tree
        )

    def projection(self, tree: Any, weights: Tree = None) -> Tensor:
        """A scalar: the weighted sum over all floating tensors of a tree; by default with `weights_for` it."""
        total = torch.zeros((), dtype=torch.float64)
        weights = self.weights_for(tree) if weights is None else weights
        for (_, leaf), (_, weight) in zip(leaves(tree), leaves(weights), strict=True):
            if leaf.is_floating_point():
                total = total + (leaf.to(torch.float64) * weight).sum()
        return total

    def gradients(
        self,
        inputs: Any = None,
        state: Any = ...,
        *,
        subject: Subject | None = None,
        loss: Callable[[Result], Tensor] | None = None,
        run: Callable[[Any, Tree], Result] | None = None,
        **options: Any,
    ) -> dict[str, Tensor | None]:
        """The gradients of a scalar of the results, by name: `input`, each leaf of the initial state (`initial h_n`,
        `initial c_n`, ...), and each parameter (`parameter NAME`); None where the scalar does not depend on it.

        Args:
            inputs, state: of the call; the case's by default.
            subject: what is called.
            loss: from the results to the scalar; a fixed random projection of output and state by default.
            run: from input and state to the results, where that is not one call.
            options: of the call.
        """
        subject = subject or self.subject
        given = self.given if inputs is None else inputs
        leaf = _tracked(given.data if isinstance(given, PackedSequence) else given)
        given = given._replace(data=leaf) if isinstance(given, PackedSequence) else leaf
        if inputs is None:
            options.setdefault("lengths", self.lengths)
        initial = self.state if state is ... else state
        initial = map_tree(_tracked, initial)
        result = run(given, initial) if run is not None else subject.call(given, initial, grad=True, **options)
        scalar = loss(result) if loss is not None else self.projection([result.output, result.state])
        of = {"input": leaf}
        of |= {f"initial {name}": leaf for name, leaf in state_leaves(initial)}
        of |= {f"parameter {name}": value for name, value in subject.parameters_of().items()}
        of = {name: value for name, value in of.items() if value.requires_grad and not value.is_complex()}
        return dict(zip(of, subject.differentiate(scalar, list(of.values())), strict=True))

    def same_gradients(
        self, actual: Mapping[str, Tensor | None], expected: Mapping[str, Tensor | None], what: str = ""
    ) -> None:
        """Two sets of gradients agree within rounding; none is the same as zeros.

        Raises:
            ValueError: there is no gradient to compare, or not of the same things: the check is wrong.
        """
        if not any(value is not None for value in expected.values()):
            raise ValueError("there is no gradient on the side that is compared with: nothing would be compared")
        if set(actual) != set(expected):
            raise ValueError(f"gradients of {sorted(actual)} can't be compared with gradients of {sorted(expected)}")
        prefix = f"{what}: " if what else ""
        for name, value in expected.items():
            other = actual[name]
            if value is None or other is None:
                if largest(value) == largest(other) == 0:
                    continue
                wanted, got = ("none" if item is None else "a gradient" for item in (value, other))
                self.fail(f"{prefix}gradient of {name}: expected {wanted}, got {got}", expected=wanted, actual=got)
            rules = self.rules.input if name == "input" else None
            self.same(other, value, f"{prefix}gradient of {name}", rules, bound=lambda: self.gradient_bound)

    # -- assertions ---------------------------------------------------------------------------------------------

    def fail(self, message: str, *, expected: str = "", actual: str = "") -> NoReturn:
        raise Violation(message, expected=expected, actual=actual)

    def discard(self, reason: str) -> NoReturn:
        raise Discarded(reason)

    def same_result(self, actual: Result, expected: Result, what: str = "", *, final_state: bool = True) -> None:
        """Output and state agree within rounding."""
        prefix = f"{what}: " if what else ""
        if self.rules.output is not None:
            self.same(actual.output, expected.output, f"{prefix}output", self.rules.output)
        if self.carries_state and final_state:
            self.same(actual.state, expected.state, f"{prefix}state", self.rules.state)

    def same(
        self, actual: Any, expected: Any, what: str, rules: Rules = None, *, bound: Callable[[], Bound] | None = None
    ) -> None:
        """Two trees agree within the bound that rounding in the case's dtype can explain.

        The bound is measured only when the results are not the same to a few units; most are.

        Args:
            actual, expected: tensors, or trees of them.
            what: what they are called in the message.
            rules: the shape rules of the leaves.
            bound: measures the bound; by default the one of the case's own call.
        """
        gap = difference(actual, expected, what, rules)
        if gap is None:
            return
        unit = UNIT_ROUNDOFF[DTYPES[self.case.dtype]]
        scale = largest(expected)
        if gap.size <= 32 * unit * scale:
            return
        if gap.size == float("inf"):
            raise Violation(gap.message, expected=gap.expected, actual=gap.actual)
        measured = self.bound if bound is None else bound()
        if gap.size > measured.allowed and gap.size <= _NEAR * unit * max(1.0, scale) and measured.rounded is not None:
            measured = measured.rounded()  # it may be a formula that cancels, such as 1 - y*y where y saturates
        if measured.ill_conditioned:
            raise Discarded("ill-conditioned: rounding alone could explain any difference")
        if gap.size > measured.allowed + 4 * unit * scale:
            message = f"{gap.message} (difference {gap.size:.2g}, rounding explains {measured.allowed:.1g})"
            raise Violation(message, expected=gap.expected, actual=gap.actual)

    def note(self, errors: Mapping[str, float]) -> None:
        """Keep the largest error of each kind of result, in units of the bound, for the report."""
        for kind, size in errors.items():
            self.errors[kind] = max(self.errors.get(kind, 0.0), size)

    @cached_property
    def bound(self) -> Bound:
        """What rounding can explain in the results of the case's own call."""
        return self.bound_of(self._results)

    def bound_with(self, inputs: Any) -> Bound:
        """The same where some calls are made with another input of the case's sizes: whichever is larger.

        Where all steps go through one transform, such as an FFT, the largest of them says how far each is rounded.
        """
        return max(self.bound, self.bound_of(self._results, inputs), key=lambda found: found.allowed)

    def _results(self, inputs: Any, state: Tree) -> Tree:
        result = self.subject.call(inputs, state, lengths=self.lengths)
        return [result.output, result.state]

    @cached_property
    def gradient_bound(self) -> Bound:
        """What rounding can explain in the gradients of the case's own call."""
        return self.bound_of(lambda inputs, state: self.gradients(inputs, state, lengths=self.lengths))

    def bound_of(self, run: Callable[[Any, Tree], Tree], inputs: Any = None, state: Any = ...) -> Bound:
        """What rounding in the case's dtype can explain in a function of input and state, the case's by default."""
        given = self.given if inputs is None else inputs
        initial = self.state if state is ... else state
        factor = self.contract.tolerance
        return sensitivity_bound(self.subject.module, run, given, initial, dtype=DTYPES[self.case.dtype], factor=factor)

    def changed(self, one: Any, two: Any) -> bool:
        """Whether two results differ at all: the same call twice gives the same bits (RP501 holds that)."""
        return difference(one, two, "") is not None

    def shaped(self, value: Any, rule: ShapeRule, what: str) -> None:
        """A value is a tensor of the rule's shape."""
        if not isinstance(value, Tensor):
            raise Violation(f"{what}: expected a tensor, got {type(value).__name__}")
        wrong = rule.mismatch(tuple(value.shape), self.sizes, what)
        if wrong is not None:
            raise Violation(wrong, expected=str(rule.shape(self.sizes)), actual=str(tuple(value.shape)))

    # -- faults -------------------------------------------------------------------------------------------------

    @cached_property
    def faulty(self) -> Call:
        """The concrete call with the case's fault in it."""
        return make_call(self.case, self.contract)

    def verdict(self) -> Verdict:
        """The judge's verdict on the faulty call; a case that is not plainly invalid is discarded.

        Raises:
            Discarded: the call is valid, or can be read two ways.
        """
        verdict = judge(self.faulty, self.contract, self.case.dtype)
        if verdict.kind != "invalid":
            raise Discarded(f"the fault makes no invalid call: {verdict.kind} {verdict.reason}".strip())
        return verdict

    def attempt(self, subject: Subject | None = None) -> FaultOutcome:
        """Make the faulty call, building the module first where the fault is in the constructor's arguments."""
        try:
            if self.case.fault is not None and self.case.fault.family == "hyperparameters":
                module = self.factory.subject(
                    self.faulty.hyperparameters, self.case.parameter_seed, dtype=self.case.dtype
                )
                clean = Case(
                    hyperparameters=self.case.hyperparameters,
                    seq_len=self.case.seq_len,
                    batch=self.case.batch,
                    dtype=self.case.dtype,
                )
                module.call(input_spec(clean, self.contract).make(), None)
            else:
                call = self.faulty
                (subject or self.subject).call(call.input, call.state, lengths=call.lengths)
        except TargetRaisedError as raised:
            kind = "accidental" if isinstance(raised.error, ACCIDENTAL) else "rejected"
            if not isinstance(raised.error, self.contract.rejects):
                kind = "accidental"
            return FaultOutcome(kind, raised.error)
        except UnusableResultError:
            return FaultOutcome("accepted")
        return FaultOutcome("accepted")


def _tracked(leaf: Tensor) -> Tensor:
    """A copy of which gradients can be asked, where its dtype has any."""
    return leaf.detach().clone().requires_grad_(leaf.is_floating_point())
