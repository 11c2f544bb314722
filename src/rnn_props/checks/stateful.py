"""RP213: modules that keep their state between calls until they are reset."""

from __future__ import annotations

import itertools

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.registry import check
from rnn_props.checks.trial import Trial
from rnn_props.subjects import Result, clone


@check(
    "RP213",
    "state.reset",
    when=when.is_stateful,
    needs=Needs(splits=True, batches=(1, 2, 3, 4)),
    after=("RP101", "RP102", "RP501", "RP207"),
    hint="Something survives the reset (a second layer, the cell state, a cached mask), or is lost without one between "
    "two calls.",
)
def reset(t: Trial) -> None:
    """After a reset the module behaves as new, and without one two calls equal one call on the joined sequence.

    Why: streaming inference hands the sequence over in pieces and resets between users. A reset that forgets half of
    the state carries one user over to the next; a state that is dropped between pieces answers without context.
    Causes:
    - reset clears h and not c, or the first layer and not the others
    - reset restores a state that was stored by reference and has been changed in place
    - the state is made anew whenever the length of the piece changes
    - the state is kept for the last step of the batch size seen first
    Fix: keep the whole state in one attribute that forward replaces as a whole, and set it to None in the reset method.
    """
    fresh = t.call(subject=t.build())
    fresh = Result(clone(fresh.output), None)
    t.call(t.other_input(3))
    t.call(t.other_input(4), going_on=True)
    t.same(t.call().output, fresh.output, "output after earlier calls and a reset", t.rules.output)
    t.same(t.call().output, fresh.output, "output after a second reset", t.rules.output)
    assert t.rules.output is not None
    axis = t.rules.output.axis("T")
    if t.rules.input.axis("T") is None or not t.case.splits:
        return
    edges = (0, *t.case.splits, t.sizes["T"])
    for place, (start, stop) in enumerate(itertools.pairwise(edges)):
        piece = t.call(t.steps(t.input, start, stop), going_on=place > 0).output
        what = f"steps {start} to {stop} in pieces cut at {', '.join(map(str, t.case.splits))}: output"
        if axis is not None:
            t.same(piece, fresh.output.narrow(axis, start, stop - start), what, t.rules.output)
        elif stop == t.sizes["T"]:
            t.same(piece, fresh.output, what, t.rules.output)
