"""Stories: orders of operations on a module and its streams, told by a Hypothesis state machine.

The machine has the rules and knows which streams there are; it runs nothing. What it tells becomes part of a case, so
that a story runs in a worker, shrinks and is stored like everything else of a case.
"""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from rnn_props.cases.case import Step

#: The most operations of one story.
MOST_STEPS = 14
#: The most streams that go on side by side.
MOST_STREAMS = 4

#: What can be done to a stream, and to the module, between two calls.
_OF_A_STREAM = ("reorder", "drop", "reset", "reject")
_OF_THE_MODULE = ("train", "load", "move")
_NUMBERS = st.integers(0, 7)


class Storyteller(RuleBasedStateMachine):
    """Tells one story: which operations follow one another, on which streams."""

    told: list[tuple[Step, ...]]
    streams = Bundle("streams")

    def __init__(self) -> None:
        super().__init__()
        self.story: list[Step] = []
        self.count = 0
        self.due = False

    def _tell(self, kind: str, one: int = 0, two: int = 0) -> None:
        """Write a step down. Between two steps that feed nothing, something is fed: the rest would show nothing."""
        self.due = kind != "feed"
        self.story.append((kind, one, two))

    def _stream(self) -> int:
        self.count += 1
        return self.count - 1

    @initialize(target=streams, number=_NUMBERS)
    def begin(self, number: int) -> int:
        self._tell("begin", 0, number)
        return self._stream()

    @precondition(lambda self: not self.due and self.count < MOST_STREAMS)
    @rule(target=streams, number=_NUMBERS)
    def begin_another(self, number: int) -> int:
        self._tell("begin", 0, number)
        return self._stream()

    @rule(stream=streams, number=st.integers(1, 4))
    def feed_chunk(self, stream: int, number: int) -> None:
        self._tell("feed", stream, number)

    @rule(stream=streams, number=st.integers(2, 3))
    def feed_short_chunk(self, stream: int, number: int) -> None:
        self._tell("feed", stream, number)

    @rule(stream=streams)
    def feed_step(self, stream: int) -> None:
        self._tell("feed", stream, 1)

    @precondition(lambda self: not self.due and self.count < MOST_STREAMS)
    @rule(target=streams, stream=streams)
    def fork(self, stream: int) -> int:
        self._tell("fork", stream)
        return self._stream()

    @precondition(lambda self: not self.due)
    @rule(stream=streams, number=_NUMBERS, kind=st.sampled_from(_OF_A_STREAM))
    def disturb_stream(self, stream: int, number: int, kind: str) -> None:
        self._tell(kind, stream, number)

    @precondition(lambda self: not self.due)
    @rule(kind=st.sampled_from(_OF_THE_MODULE))
    def disturb_module(self, kind: str) -> None:
        self._tell(kind)

    def teardown(self) -> None:
        if any(kind == "feed" for kind, _, _ in self.story):
            self.told.append(tuple(self.story))


def draw_stories(seed: int, count: int) -> list[tuple[Step, ...]]:
    """The first `count` stories that the state machine tells under a seed, each with something that is fed."""
    told: list[tuple[Step, ...]] = []
    machine = with_seed(seed)(type("Storyteller", (Storyteller,), {"told": told}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            settings.get_profile("default"),
            max_examples=2 * count + 2,
            stateful_step_count=MOST_STEPS,
            phases=(Phase.generate,),
            database=None,
            derandomize=False,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return told[:count]


def stories() -> st.SearchStrategy[tuple[Step, ...]]:
    """Stories for a test under `@given`, which can't run a state machine inside; every order of operations is one."""
    kinds = ("feed", "feed", "fork", *_OF_A_STREAM, *_OF_THE_MODULE)
    step = st.tuples(st.sampled_from(kinds), _NUMBERS, st.integers(1, 4))
    steps = st.lists(step, max_size=MOST_STEPS - 2)
    return st.tuples(_NUMBERS, steps, st.integers(1, 4)).map(
        lambda drawn: (("begin", 0, drawn[0]), *drawn[1], ("feed", 0, drawn[2]))
    )
