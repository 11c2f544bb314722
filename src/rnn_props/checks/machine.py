"""RP214: a state machine. Whatever is done in between, a stream gives what recomputing it from the start gives."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.trial import Trial, Violation
from rnn_props.contracts import Contract
from rnn_props.subjects import DTYPES, Result, Subject, TargetRaisedError, Tree, join, statistics_of


@dataclass
class _Stream:
    """One sequence that is fed bit by bit.

    Attributes:
        name: in the program.
        initial: the state that it began with, or None.
        state: the state that it is at.
        fed: what it was fed since, for the rows that it still has.
        rows: how many those are.
        subject: of a stateful module, the instance that holds the state.
    """

    name: int
    initial: Tree
    state: Tree
    rows: int
    fed: list[Tensor] = field(default_factory=list)
    subject: Subject | None = None


def _carries_state(contract: Contract) -> str | None:
    if contract.convention == "stateful":
        return None if " B " in f" {contract.input} " else "its input has no batch"
    return when.has_state(contract)


@check(
    "RP214",
    "state.machine",
    when=when.all_of(_carries_state, when.independent_rows),
    needs=Needs(
        story=True,
        lengths=(1,),
        batches=(2, 3, 1, 4),
        states=("random", "none"),
        roles={"bidirectional": (False,), "dropout": (0.0,)},
        fills=("normal",),
    ),
    share=0.5,
    after=(*BASICS, "RP208"),
    explained_by=(
        "RP201", "RP202", "RP203", "RP205", "RP206", "RP210", "RP211", "RP212", "RP301", "RP302", "RP303", "RP404",
        "RP503", "RP901", "RP902", "RP903", "RP904", "RP905", "RP911",
    ),
    hint="Read the story as a program; its last line is the call that went wrong. What the module remembers beside the "
    "state that it is given and returns is what to look for.",
)  # fmt: skip
def machine(t: Trial) -> None:
    """Any order of chunks, steps, forks, resets, reordered or dropped rows, mode switches, saving and loading, dtype
    moves and rejected calls agrees with recomputing each stream from its start.

    Why: serving and beam search do all of this, in orders that no example shows. The state must be all that a stream
    is.
    Causes:
    - memory of a returned state is used again for the next call, so that a fork of it changes
    - a counter, a cache or a workspace on self is right for one stream at a time only
    - something on self is cleared before a call is checked, or is not part of state_dict
    Fix: keep nothing on self that depends on a call. Return a new state with storage of its own at each call.
    """
    story = _Story(t)
    for kind, one, two in t.case.story:
        getattr(story, kind)(one, two)


class _Story:
    """Runs a story, and writes it down as a program."""

    def __init__(self, t: Trial) -> None:
        self.t = t
        self.streams: list[_Stream] = []
        self.begun = 0
        self.drawn = 0
        self.program: list[str] = []
        self.stateful = t.contract.convention == "stateful"
        self.low = "bfloat16" if "bfloat16" in t.contract.capabilities.dtypes else "float32"
        self.subject = self._module()
        self.reference = self._module()

    def _module(self) -> Subject:
        """A module whose weights a move to the lower dtype and back leaves as they are."""
        subject = self.t.build()
        with torch.no_grad():
            for tensor in (*subject.module.parameters(), *subject.module.buffers()):
                if tensor.is_floating_point():
                    tensor.copy_(tensor.to(DTYPES[self.low]).to(tensor.dtype))
        return subject

    def _inputs(self, rows: int, steps: int, dtype: str | None = None) -> Tensor:
        self.drawn += 1
        inputs = self.t.other_input(self.t.case.input.seed + self.drawn, B=rows, T=steps)
        return inputs if dtype is None else inputs.to(DTYPES[dtype])

    def _of(self, one: int) -> _Stream:
        if not self.streams:
            self.begin(0, 0)
        return self.streams[one % len(self.streams)]

    # -- the operations: each takes the two numbers of its step -------------------------------------------------

    def begin(self, one: int, two: int) -> None:
        rows = self.t.sizes["B"]
        state = None
        if not self.stateful and (two % 2 or not self.t.contract.capabilities.optional_state):
            state = self.t.other_state(self.t.case.parameter_seed + two)
        self._add(_Stream(0, state, state, rows, subject=self._module() if self.stateful else None))
        given = "random_state()" if state is not None else "None"
        self._write(f"s{self.begun} = {given}" if not self.stateful else f"m{self.begun} = build()")

    def _add(self, stream: _Stream) -> None:
        self.begun += 1
        self.streams.append(replace(stream, name=self.begun))

    def feed(self, one: int, two: int) -> None:
        stream = self._of(one)
        steps = 1 if self.t.rules.input.axis("T") is None else max(two, 1)
        inputs = self._inputs(stream.rows, steps)
        going_on = self.stateful and bool(stream.fed)
        stream.fed.append(inputs)
        before = sum(self._steps(fed) for fed in stream.fed[:-1])
        span = f"x{stream.name}[{before}:{before + steps}]"
        self._write(f"y{stream.name} = m{stream.name}({span})" if self.stateful
                    else f"y{stream.name}, s{stream.name} = module({span}, s{stream.name})")  # fmt: skip
        result = (stream.subject or self.subject).call(inputs, stream.state, going_on=going_on)
        stream.state = result.state
        self._agrees(stream, result, steps)

    def _steps(self, inputs: Tensor) -> int:
        axis = self.t.rules.input.axis("T")
        return 1 if axis is None else inputs.shape[axis]

    def fork(self, one: int, two: int) -> None:
        stream = self._of(one)
        fork = replace(stream, fed=list(stream.fed))
        if stream.subject is not None:
            with stream.subject.doing("copying it") as module:
                fork.subject = stream.subject.with_module(copy.deepcopy(module))
        self._add(fork)
        letter = "m" if self.stateful else "s"
        what = f"copy.deepcopy(m{stream.name})" if self.stateful else f"s{stream.name}"
        self._write(f"{letter}{self.begun} = {what}; x{self.begun} = x{stream.name}")

    def reset(self, one: int, two: int) -> None:
        stream = self._of(one)
        if not self.stateful and not self.t.contract.capabilities.optional_state:
            return
        stream.initial = stream.state = None
        stream.fed = []
        self._write(f"m{stream.name}.{self.t.contract.reset}()" if self.stateful else f"s{stream.name} = None")

    def reorder(self, one: int, two: int) -> None:
        stream = self._of(one)
        order = torch.randperm(stream.rows, generator=torch.Generator().manual_seed(two)).tolist()
        self._take(stream, order)

    def drop(self, one: int, two: int) -> None:
        stream = self._of(one)
        if stream.rows > 1:
            self._take(stream, [row for row in range(stream.rows) if row != two % stream.rows])

    def _take(self, stream: _Stream, rows: list[int]) -> None:
        """Go on with some of the rows, in another order."""
        if self.stateful:
            return
        stream.state = self.t.rows_of_state(stream.state, rows)
        stream.initial = self.t.rows_of_state(stream.initial, rows)
        stream.fed = [self.t.rows_of_input(fed, rows) for fed in stream.fed]
        stream.rows = len(rows)
        self._write(f"s{stream.name}, x{stream.name} = rows {rows} of s{stream.name}, x{stream.name}")

    def train(self, one: int, two: int) -> None:
        """A training step's forward pass in between.

        The statistics that torch's own layers take then are put back: they change eval mode's results, as they should.
        """
        if self.stateful or self.t.contract.capabilities.batch_statistics:
            return
        self._write("module.train(); module(other); module.eval()")
        with self.subject.doing("switching it to training mode") as module:
            module.train()
        statistics = statistics_of(self.subject.module)
        before = {name: buffer.clone() for name, buffer in statistics.items()}
        self.subject.call(self._inputs(2, 2), self._some_state(2))
        for name, buffer in statistics.items():
            buffer.copy_(before[name])
        if statistics:
            self._write("# running statistics are put back")
        with self.subject.doing("switching it to eval mode") as module:
            module.eval()

    def _some_state(self, rows: int) -> Tree:
        return None if self.t.contract.capabilities.optional_state else self.t.other_state(0, B=rows)

    def load(self, one: int, two: int) -> None:
        if self.stateful:
            return
        self._write("module = load(save(module))")
        with self.subject.doing("taking its state_dict") as module:
            saved = copy.deepcopy(module.state_dict())
        fresh = self.t.factory.subject(
            self.t.case.hyperparameters, self.t.case.parameter_seed + 1, dtype=self.t.case.dtype
        )
        with fresh.doing("loading its state_dict") as module:
            module.load_state_dict(saved)
        self.subject = fresh

    def move(self, one: int, two: int) -> None:
        if self.stateful:
            return
        self._write(f"module.to({self.low}); module(other); module.to({self.t.case.dtype})")
        with self.subject.doing(f"moving it to {self.low}") as module:
            module.to(DTYPES[self.low])
        if self.t.contract.capabilities.optional_state:
            self.subject.call(self._inputs(2, 2, self.low))
        with self.subject.doing(f"moving it to {self.t.case.dtype}") as module:
            module.to(DTYPES[self.t.case.dtype])

    def reject(self, one: int, two: int) -> None:
        """A call with one feature too many; where it is accepted, another check says so."""
        stream = self._of(one)
        inputs = self._inputs(stream.rows, 2)
        letter = f"m{stream.name}" if self.stateful else "module"
        self._write(f"{letter}(x with one feature more)  # raises")
        if self.stateful and not stream.fed:
            return
        wide = torch.cat([inputs, inputs[..., :1]], -1)
        try:
            (stream.subject or self.subject).call_raw(wide, stream.state, going_on=self.stateful)
        except TargetRaisedError:
            return
        self.t.discard("a call with one feature too many was accepted")

    # -- the model ----------------------------------------------------------------------------------------------

    def _write(self, line: str) -> None:
        self.program.append(line)

    def _agrees(self, stream: _Stream, result: Result, steps: int) -> None:
        """The last call's results are those of a module that runs the whole stream from its start."""
        expected = self._from_the_start(stream)
        total = sum(self._steps(fed) for fed in stream.fed)
        whole = f"x{stream.name}[0:{total}]"
        rule = self.t.rules.output
        try:
            if rule is not None:
                axis = rule.axis("T")
                last = expected.output if axis is None else expected.output.narrow(axis, total - steps, steps)
                self.t.same(result.output, last, f"{whole} in one call: y{stream.name}", rule)
            if self.t.carries_state:
                what = f"{whole} in one call: s{stream.name}"
                self.t.same(result.state, expected.state, what, self.t.rules.state)
        except Violation as violation:
            told = "\n".join(f"    {line}" for line in self.program)
            message = f"{violation.message}\n{told}"
            raise Violation(message, expected=violation.expected, actual=violation.actual) from None

    def _from_the_start(self, stream: _Stream) -> Result:
        axis = self.t.rules.input.axis("T")
        reference = self._module() if self.stateful else self.reference
        if axis is not None:
            return reference.call(join(stream.fed, self.t.rules.input, "T"), stream.initial)
        state, result = stream.initial, Result(None, None)
        for place, inputs in enumerate(stream.fed):
            result = reference.call(inputs, state, going_on=place > 0)
            state = result.state
        return result
