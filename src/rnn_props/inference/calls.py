"""Finding a call that works: layouts, states and flags are tried, the simplest first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from rnn_props.contracts import OPEN, Contract, Domain
from rnn_props.inference.configure import FIRST, SECOND, SIZES
from rnn_props.inference.documented import said_layout
from rnn_props.inference.flags import flag_readings, flags_fit, misread_flags, named_mask_counts
from rnn_props.inference.layout import ProbeError
from rnn_props.inference.names import (
    DONE_NAMES,
    FLAG_NAMES,
    MASK_NAMES,
    MEMBER_NAMES,
    START_NAMES,
    TIME_SPAN_NAMES,
    is_lengths,
)
from rnn_props.inference.signature import Parameter, Signatures
from rnn_props.subjects import Factory, Subject, TargetRaisedError, UnusableResultError

#: Layouts of the input that are tried, in this order. In the first one either of the two axes may be the batch.
LAYOUTS = ("T B I", "B T I", "B I", "B I T")
#: The same for token ids, which have no features.
TOKENS = ("T B", "B T", "B")
#: Further ones, for modules with convolutions inside.
IMAGES = ("B I 4 6", "T B I 4 6", "B T I 4 6")
#: Seconds that a call may take, building included.
_SLOWEST = 1.5
#: Seconds after which no further call is tried.
_PATIENCE = 40.0

Make = Callable[[Subject, Mapping[str, int]], Any]


@dataclass(frozen=True, slots=True)
class Roles:
    """What forward's arguments after the input are.

    Attributes:
        states, lengths, spans, flags: names.
        mask, starts: names of what keeps steps out, and of what says where an episode begins; with `..._required`.
        required: which of the states must be given.
    """

    states: tuple[str, ...] = ()
    lengths: str = ""
    lengths_required: bool = False
    spans: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    required: bool = False
    mask: str = ""
    mask_required: bool = False
    starts: str = ""
    starts_required: bool = False

    def flags_needed(self) -> list[str]:
        """Masks and flags of episodes that must be given."""
        needed = {self.starts: self.starts_required, self.mask: self.mask_required}
        return [name for name, required in needed.items() if name and required]

    def flags_left(self) -> list[str]:
        """Masks and flags of episodes that may be left out."""
        needed = self.flags_needed()
        return [name for name in dict.fromkeys((self.starts, self.mask)) if name and name not in needed]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call that worked.

    Attributes:
        contract: what has to be known for it, with a provisional layout.
        make: makes the initial state, from a subject and the sizes; None where none is given.
        how: the state in words.
        subject, inputs, value: of the call.
    """

    contract: Contract
    make: Make | None
    how: str
    subject: Subject
    inputs: Tensor
    value: Any

    def state(self, sizes: Mapping[str, int], subject: Subject | None = None) -> Any:
        return None if self.make is None else self.make(subject or self.subject, sizes)


def read_roles(parameters: Sequence[Parameter]) -> Roles:
    """The parts that forward's arguments play, by their names.

    Raises:
        TargetError: one that must be given plays none.
    """
    states = tuple(item for item in parameters[1:] if item.name in MEMBER_NAMES)
    lengths = next((item for item in parameters[1:] if is_lengths(item.name)), None)
    spans = tuple(item.name for item in parameters[1:] if item.name in TIME_SPAN_NAMES and item.required)
    flags = tuple(item.name for item in parameters[1:] if item.name in FLAG_NAMES and item.default in (False, None))
    others = [item for item in parameters[1:] if item not in states and item is not lengths]
    # Beside a state, a plain mask is what wipes it out where an episode begins.
    start_names = START_NAMES | (DONE_NAMES if states else frozenset())
    starts = next((item for item in others if item.name in start_names), None)
    masks = (item for item in others if item.name in MASK_NAMES and (item is not starts or item.name in DONE_NAMES))
    mask = next(masks, None)
    known = {item.name for item in (*states, lengths, starts, mask) if item is not None} | set(spans)
    unknown = [item.name for item in parameters[1:] if item.required and item.name not in known]
    if unknown:
        raise ProbeError(
            f"its forward needs '{unknown[0]}' beside the input, and the name does not say what it is; write an "
            "adapter that passes it ('rnn-props infer --adapter FILE' makes a stub), or give a Contract with "
            f"keywords={{'{unknown[0]}': VALUE}}"
        )
    return Roles(
        states=tuple(item.name for item in states),
        lengths=lengths.name if lengths else "",
        lengths_required=lengths is not None and lengths.required,
        spans=spans,
        flags=flags,
        required=any(item.required for item in states),
        mask=mask.name if mask is not None else "",
        mask_required=mask is not None and mask.required,
        starts=starts.name if starts is not None else "",
        starts_required=starts is not None and starts.required,
    )


class Caller:
    """Tries calls of one configuration."""

    def __init__(self, target: Any, contract: Contract, signatures: Signatures, hyperparameters: Mapping[str, Any]):
        self._target = target
        self._contract = contract
        self._signatures = signatures
        self.hyperparameters = hyperparameters
        self._started = time.monotonic()

    def first(self, roles: Roles, layouts: Sequence[str] = ()) -> Attempt:
        """The first call that works, in one of the layouts; by default in one of the usual ones.

        Raises:
            ProbeError: none does; the message is that of the plainest one.
        """
        layouts = layouts or (*self._token_layouts(), *LAYOUTS, *(IMAGES if self._has_convolutions() else ()))
        first_error: Exception | None = None
        misread: Attempt | None = None
        for contract in self._contracts(roles, layouts):
            for how, make in self._states(roles, contract):
                began = time.monotonic()
                try:
                    attempt = self.call(contract, make, how)
                    if time.monotonic() - began > _SLOWEST:
                        self._again_in_time(attempt)
                    if not contract.forms or self._of(attempt, flags_fit):
                        return attempt
                    misread = misread or attempt
                except (TargetRaisedError, UnusableResultError) as error:
                    first_error = first_error or error
                if time.monotonic() - self._started > _PATIENCE:
                    break
        if misread is not None:
            if self._of(misread, named_mask_counts):
                return misread
            raise ProbeError(misread_flags(misread.contract))
        if first_error is None:
            raise ProbeError(
                f"its forward needs '{roles.mask}', which keeps steps out, and a call of one step has none"
            )
        raise ProbeError(unusable(first_error, roles)) from first_error

    def _of(self, attempt: Attempt, question: Callable[[Subject, Tensor, Any], bool]) -> bool:
        """What is asked of the subject, input and state of an attempt."""
        return question(attempt.subject, attempt.inputs, attempt.state(self.sizes(attempt.contract)))

    def with_optional_flags(self, contract: Contract, attempt: Attempt, roles: Roles) -> Contract:
        """The contract with a mask or episode flags that may be left out, where a call shows what they mean."""
        for name in () if contract.adapter is not None else roles.flags_left():
            options = flag_readings(contract, [name], roles)
            inputs = attempt.inputs
            calls = [call for option in options if (call := self.again(option, attempt, inputs)) is not None]
            fitting = next((call for call in calls if self._of(call, flags_fit)), None)
            if fitting is None and calls and self._of(calls[0], named_mask_counts):
                fitting = calls[0]
            contract = fitting.contract if fitting is not None else contract.with_evidence(
                f"{OPEN}'{name}' is left out: no call showed that it keeps out what stands after a row's end"
            )  # fmt: skip
        return contract

    def again(self, contract: Contract, attempt: Attempt, inputs: Tensor | None = None) -> Attempt | None:
        """The call of an attempt under another contract, None where it does not work; inputs of its own by default."""
        try:
            return self.call(contract, attempt.make, attempt.how, inputs)
        except (TargetRaisedError, UnusableResultError):
            return None

    def width_name(self, attempt: Attempt) -> str:
        """The constructor argument that says how many features the input has, where its name does not, or "".

        It has that number as its value, and with another value the input must have as many.
        """
        width = next((part for part in attempt.contract.input.split() if part.isdigit()), "")
        for name, domain in self._contract.hyperparameters.items():
            if str(self.hyperparameters[name]) != width or not isinstance(domain, Domain):
                continue
            others = [value for value in domain.values if type(value) is int and str(value) != width]
            if not others:
                continue
            other = self.with_hyperparameters(**{name: others[-1]})
            rule = attempt.contract.input.replace(width, str(others[-1]), 1)
            follows = other.again(replace(attempt.contract, input=rule), attempt) is not None
            if follows and other.again(attempt.contract, attempt) is None:
                return name
        return ""

    def _again_in_time(self, attempt: Attempt) -> None:
        """A second call, since the first one may have imported something.

        Raises:
            ProbeError: it is slow, too.
        """
        began = time.monotonic()
        self.call(attempt.contract, attempt.make, attempt.how)
        if (taken := time.monotonic() - began) > _SLOWEST:
            raise ProbeError(
                f"a call of its simplest configuration takes {taken:.1f} s, and inference makes some forty; hold what "
                "makes it large with --arg NAME=VALUE, or give a Contract"
            )

    @cached_property
    def said_layout(self) -> tuple[str, str]:
        """The order of batch and time that the author states, and where."""
        return said_layout(self._target, self._signatures)

    def _token_layouts(self) -> tuple[str, ...]:
        """Layouts of token ids, for modules with an embedding, or with an argument for the number of ids."""
        return TOKENS if self.vocabulary is not None else ()

    @cached_property
    def vocabulary(self) -> int | str | None:
        """How many token ids the module may take: an argument of its own, or what its embedding has."""
        name = self._contract.roles.get("vocab_size")
        tables = [layer.num_embeddings for layer in self._layers() if isinstance(layer, nn.Embedding | nn.EmbeddingBag)]
        return name or min(tables, default=None)

    def _has_convolutions(self) -> bool:
        return any(isinstance(part, nn.Conv2d) for part in self._layers())

    def _layers(self) -> list[nn.Module]:
        """The layers of the module, in the order in which they were registered; none where it can't be built."""
        try:
            return list(Factory(self._target, self._contract).module(self.hyperparameters, 0).modules())
        except (TargetRaisedError, UnusableResultError):
            return []

    def with_hyperparameters(self, **values: Any) -> Caller:
        """The same under other constructor arguments."""
        return Caller(self._target, self._contract, self._signatures, {**self.hyperparameters, **values})

    def call(self, contract: Contract, make: Make | None, how: str, inputs: Tensor | None = None) -> Attempt:
        """One call.

        Raises:
            TargetRaisedError, UnusableResultError: it does not work.
        """
        subject = Factory(self._target, contract).subject(self.hyperparameters, 0, dtype="float32")
        sizes = self.sizes(contract)
        if inputs is None:
            inputs = torch.randn(
                [sizes[part] if part in sizes else int(part) for part in contract.input.split()],
                generator=torch.Generator().manual_seed(0),
            )
        state = None if make is None else make(subject, sizes)
        value = subject.call_raw(inputs, state)
        return Attempt(contract, make, how, subject, inputs, value)

    def sizes(self, contract: Contract) -> dict[str, int]:
        return contract.sizes(self.hyperparameters, FIRST, SECOND)

    def _contracts(self, roles: Roles, layouts: Sequence[str]) -> Iterator[Contract]:
        """Provisional contracts, the plainest last among equals: with the state coming out, if a flag makes it."""
        sizes = self.sizes(self._contract)
        features = ["I"] if "I" in sizes else [str(SIZES["input_size"]), *self._own_sizes()]
        passed: dict[str, Any] = dict.fromkeys(roles.spans, 1.0)
        ways = [{**passed, **dict.fromkeys(roles.flags, True)}, passed] if roles.flags else [passed]
        arguments = {"state": " ".join(roles.states)} if self._by_name(roles) else {}
        for keywords in ways:
            base = replace(self._contract, keywords=keywords, arguments=arguments)
            for layout in layouts:
                tokens = self.vocabulary if layout in TOKENS else None
                for width in features if tokens is None else features[:1]:
                    rule = " ".join(width if part == "I" else part for part in layout.split())
                    needed = roles.flags_needed()
                    if needed:
                        yield from flag_readings(replace(base, input=rule, vocabulary=tokens), needed, roles)
                    elif not roles.lengths_required:
                        yield replace(base, input=rule, vocabulary=tokens)
                    elif layout in ("T B I", "T B"):
                        yield from self._with_lengths(replace(base, vocabulary=tokens), rule, roles)

    def _with_lengths(self, base: Contract, rule: str, roles: Roles) -> Iterator[Contract]:
        arguments = {**base.arguments, "lengths": roles.lengths}
        for relative in (False, True):
            able = replace(base.capabilities, relative_lengths=relative)
            for layout in (rule.replace("T B", "B T"), rule):
                yield replace(
                    base, input=layout, convention="lengths", arguments=arguments, capabilities=able, output="B O"
                )

    def _by_name(self, roles: Roles) -> bool:
        """Whether states go in by their names: where there are several, or they do not come right after the input."""
        if self._contract.adapter is not None:
            return False
        names = [item.name for item in self._signatures.forward]
        return len(roles.states) > 1 or bool(roles.states and names.index(roles.states[0]) != 1)

    def _own_sizes(self) -> list[str]:
        """Numbers of features that the input may have, where no argument says it: the layers' own, first."""
        names = ("input_size", "in_features", "in_channels")
        layers = (getattr(layer, name, None) for layer in self._layers() for name in names)
        given = [*layers, *self._contract.fixed.values(), *self.hyperparameters.values()]
        return [str(value) for value in dict.fromkeys(given) if type(value) is int and value > 1]

    def _states(self, roles: Roles, contract: Contract) -> Iterator[tuple[str, Make | None]]:
        """States that may be right: none, what a method makes, and zeros of the usual shapes."""
        if not roles.required:
            yield "none", None
        adapter = Factory(self._target, contract).adapter
        if adapter is not None:
            yield (
                "the adapter's initial_state",
                lambda subject, sizes: adapter.initial_state(subject.module, sizes["B"]),
            )
        if not roles.states:
            return
        name = self._signatures.initial
        if name:
            yield f"{name}(batch)", lambda subject, sizes: _by_method(subject, name, sizes["B"])
        inner = contract.input.split()[3:] if contract.input.startswith("T") else contract.input.split()[2:]
        space = [int(part) for part in inner if part.isdigit()]
        for shape in (("B", "H"), ("1", "B", "H"), ("B", "I")):
            if len(roles.states) == 1:
                for count in (1, 2, -2, 3, -1, 4):
                    yield f"zeros {' '.join(shape)}, {_count_text(count)}", _zeros(shape, count, space)
                continue
            yield f"zeros {' '.join(shape)} for each", _zeros(shape, len(roles.states), space)
            yield f"zeros {' '.join(shape)}, the last a pair", _zeros(shape, len(roles.states), space, pair=True)


def _count_text(count: int) -> str:
    if count == 1:
        return "one tensor"
    return f"a tuple of {count}" if count > 0 else f"a list of {'one' if count == -1 else 'one pair'}"


def _zeros(shape: Sequence[str], count: int, space: Sequence[int], *, pair: bool = False) -> Make:
    def make(subject: Subject, sizes: Mapping[str, int]) -> Any:
        wide = [sizes.get(part, sizes.get("H", SIZES["input_size"])) if part.isalpha() else 1 for part in shape]

        def zero() -> Tensor:
            return torch.zeros(*wide, *space)

        if count == 1:
            return zero()
        if count < 0:
            return [zero()] if count == -1 else [(zero(), zero())]
        members = [zero() for _ in range(count)]
        return (*members[:-1], (zero(), zero())) if pair else tuple(members)

    return make


def _by_method(subject: Subject, name: str, batch: int) -> Any:
    """What the target's own method makes for a batch.

    Raises:
        TargetRaisedError: it raised.
    """
    with subject.doing(f"calling {name}({batch})") as module:
        return getattr(module, name)(batch)


def unusable(error: Exception, roles: Roles | None = None) -> str:
    """What is wrong with the simplest configuration, and what to do next."""
    text = f"its simplest configuration does not work: {error}"
    if isinstance(error, TargetRaisedError):
        text += f" ({_next_step(error)})"
        if error.where:
            text += f"\n  at {error.where}"
    if roles is not None and roles.required:
        text += f"\n  its forward needs a state '{' '.join(roles.states)}'; an adapter with initial_state can make it"
    return text


def _next_step(error: TargetRaisedError) -> str:
    if "can't allocate memory" in str(error):
        return "a worker's memory is bounded: hold what makes it large with --arg NAME=VALUE, or write a factory"
    if error.doing.startswith("building"):
        return "if it needs more than sizes, write a function that makes it, and name that as the target"
    return "if it is called in another way, write an adapter: 'rnn-props infer --adapter FILE' makes a stub"
