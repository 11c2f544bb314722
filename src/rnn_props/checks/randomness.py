"""RP502, RP503 and RP504: dropout, training mode against eval mode, and the global random generators."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
import torch

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.life import repeatable
from rnn_props.checks.registry import check
from rnn_props.checks.trial import Advice, Trial, Violation
from rnn_props.contracts import Contract
from rnn_props.numerics import difference
from rnn_props.subjects import (
    Result,
    Subject,
    TargetRaisedError,
    UnusableResultError,
    clone,
    registered_tensors,
    state_leaves,
)

#: Calls in training mode. That so many masks of a single element are all the same has a chance of 1 in 2**7.
_DRAWS = 8


@contextmanager
def training(subject: Subject) -> Iterator[Subject]:
    """The subject in training mode, and in eval mode afterwards."""
    with subject.doing("switching it to training mode") as module:
        module.train()
    yield subject
    with subject.doing("switching it to eval mode") as module:
        module.eval()


def has_dropout(contract: Contract) -> str | None:
    return None if "dropout" in contract.roles else "its constructor has no dropout argument"


@check(
    "RP502",
    "mode.dropout",
    when=when.all_of(has_dropout, repeatable),
    # A unit that ReLU has switched off would look like one that was dropped.
    needs=Needs(
        lengths=(1, 2, 3),
        batches=(1, 2, 3),
        states=("random",),
        fills=("normal",),
        roles={"dropout": (0.5,), "nonlinearity": ("tanh",)},
    ),
    explained_by=("RP201", "RP202", "RP204", "RP205", "RP503", "RP504", "RP911"),
    share=0.3,
    hint="Dropout acts on what a layer hands to the layer above, at each boundary between layers, and nowhere else: "
    "look at the condition on the layer's index, at what is dropped (output or state), at p and at self.training.",
)
def dropout(t: Trial) -> None:
    """In training mode with 0 < p < 1 and several layers, calls differ, and the top layer's output is not dropped. With
    one layer nothing changes, and p = 1 silences what upper layers are fed.

    Why: Dropout in the wrong place regularises something else than was asked for, and training runs all the same.
    Dropout that does nothing is never noticed.
    Causes:
    - The output of every layer is dropped, the last one's included: `for layer in layers: x = drop(layer(x))`.
    - The recurrent state is dropped at each step, since a cell's output and its state are the same tensor.
    - `dropout` is stored and never used, or used at one boundary of several.
    - A mask made by hand that is not divided by `1 - p`, so that upper layers are fed other sizes in eval mode.
    - A mask that is drawn once and kept on `self`.
    Fix: Apply `F.dropout(x, self.dropout, self.training)` to what goes into each layer but the first. A module that
    drops something else by design says so in its contract: `Capabilities(torch_contract=False)`.
    """
    if not t.contract.capabilities.torch_contract:
        _has_an_effect(t)
    elif t.sizes["L"] == 1:
        _changes_nothing(t)
    else:
        _acts_between_layers(t)
        _silences(t)


def _changes_nothing(t: Trial) -> None:
    evaluated = t.call().kept()
    with training(t.subject):
        trained = [t.call(seed=seed).kept() for seed in (1, 2)]
    for result in trained:
        t.same_result(result, evaluated, "one layer with dropout 0.5, training mode against eval mode")


def _acts_between_layers(t: Trial) -> None:
    evaluated, lowest = t.call().kept(), slice(t.sizes["D"])
    small = t.other_input(24, T=1, B=1), t.other_state(25, T=1, B=1)  # masks of a few elements: one keeps them all
    evaluated_small = t.call(*small).kept()
    with training(t.subject):
        trained = [t.call(seed=seed).kept() for seed in range(_DRAWS)]
        trained_small = [t.call(*small, seed=seed).kept() for seed in range(_DRAWS, 2 * _DRAWS)]
    for result in trained:
        _nothing_dropped(t, result, evaluated)
        for (name, leaf), (_, before) in zip(state_leaves(result.state), state_leaves(evaluated.state), strict=True):
            t.same(leaf[lowest], before[lowest], f"training mode against eval mode: {name} of the first layer")
    if not any(_differ(t, result, series[0]) for series in (trained, trained_small) for result in series):
        _no_effect(t)
    if not all(_differ(t, result, evaluated_small) for result in trained_small):
        t.fail(
            "some training calls with dropout 0.5, of one step and one row, give the very results of eval mode: where "
            "nothing is dropped, what is kept has to be divided by 1 - p",
            expected="other results than in eval mode",
            actual="the same results",
        )


def _nothing_dropped(t: Trial, trained: Result, evaluated: Result) -> None:
    """The top layer's output has no zeros: from a random state, tanh and gates give none."""
    zeros = int((trained.output == 0).sum())
    if zeros and not bool((evaluated.output == 0).any()):
        t.fail(
            f"in training mode {zeros} of the {trained.output.numel()} elements of the top layer's output are zero",
            expected="an output that is not dropped",
            actual=f"{zeros} zeros",
        )


def _silences(t: Trial) -> None:
    """With dropout 1 the top layer is fed zeros: all that is below it has no effect on it."""
    with training(t.build(**{t.contract.roles["dropout"]: 1.0})) as subject:
        silent = t.call(subject=subject).kept()
        inputs, state, top = t.other_input(21), t.other_state(22), slice(-t.sizes["D"], None)
        for (_, other), (_, own) in zip(state_leaves(state), state_leaves(t.state), strict=True):
            other[top] = own[top]
        again = t.call(inputs, state, subject=subject).kept()
        moved = t.call(state=t.other_state(23), subject=subject).kept()
    what = "dropout 1, after a change of the input and of the states of the layers below"
    t.same(again.output, silent.output, f"{what}: output", t.rules.output)
    for (name, leaf), (_, before) in zip(state_leaves(again.state), state_leaves(silent.state), strict=True):
        t.same(leaf[top], before[top], f"{what}: {name} of the top layer")
    if not t.changed(state_leaves(moved.state)[0][1][top], state_leaves(silent.state)[0][1][top]):
        t.fail(
            "dropout 1: the top layer's final state does not depend on its own initial state, so that is dropped, too",
            expected="another final state",
            actual="the same final state",
        )


def _has_an_effect(t: Trial) -> None:
    """Where dropout acts is the module's own affair; that it acts nowhere is worth knowing."""
    if "num_layers" in t.contract.roles and t.sizes["L"] == 1:
        t.discard("with one layer there may be nothing to drop")
    sizes: dict[str, Any] = {"B": 3} if t.contract.one_step else {"B": 3, "T": 5}
    inputs, state = t.other_input(21, **sizes), None if t.state is None else t.other_state(22, **sizes)
    if not _differ(t, t.call(inputs, state), t.call(t.other_input(23, **sizes), state)):
        t.discard("its results do not depend on its input")
    try:
        with training(t.subject):
            trained = [t.call(inputs, state, seed=seed).kept() for seed in range(_DRAWS)]
    except (TargetRaisedError, UnusableResultError):
        t.discard("in training mode it refuses a call, or returns something else")
    if not any(_differ(t, result, trained[0]) for result in trained):
        _no_effect(t)


def _no_effect(t: Trial) -> NoReturn:
    kind = Violation if t.contract.capabilities.torch_contract else Advice
    raise kind(
        f"dropout 0.5 has no effect: {_DRAWS} training calls under different seeds give the same",
        expected="results that differ",
        actual="the same results each time",
    )


def _differ(t: Trial, one: Result, two: Result) -> bool:
    return t.changed([one.output, one.state], [two.output, two.state])


@check(
    "RP503",
    "mode.train_eval",
    when=when.all_of(when.lacks("batch_statistics", "batch statistics are part of its contract"), repeatable),
    needs=Needs(lengths=(1, 2, 3, 5, 13), batches=(1, 2, 3), roles={"dropout": (0.0,)}),
    explained_by=("RP911",),
    share=0.4,
    hint="Search forward for self.training and for functional dropout: its p must be the constructor's argument, and "
    "nothing but dropout and batch statistics may depend on the mode.",
)
def train_eval(t: Trial) -> None:
    """Without dropout, training mode and eval mode give the same results.

    Why: A model that computes something else in training than in use is not evaluated as it was trained, and a loss in
    eval mode that is worse for that reason is taken for overfitting.
    Causes:
    - `F.dropout(x, 0.3, self.training)`: p is written down, so that `dropout=0` does not switch it off.
    - p and 1 - p exchanged in a mask made by hand, so that `dropout=0` drops all.
    - Clipping, scaling, noise or teacher forcing behind `if self.training`.
    - A faster path behind `if not self.training` whose equations have drifted.
    Fix: Let p come from the constructor everywhere, and keep `self.training` to dropout. What belongs to training
    alone, such as clipping, belongs in the training loop. A module that normalises over the batch says so in its
    contract: `Capabilities(batch_statistics=True)`.
    """
    strict = t.contract.capabilities.torch_contract
    evaluated = t.call().kept()
    buffers = clone(dict(t.subject.module.named_buffers()))
    try:
        with training(t.subject):
            trained = [t.call(seed=seed).kept() for seed in range(4)]
    except (TargetRaisedError, UnusableResultError):
        if strict:
            raise
        t.discard("in training mode it refuses the call, or returns something else")
    if not strict and any(_differ(t, result, trained[0]) for result in trained):
        t.discard("training mode is random by more than its dropout argument")
    if not strict and t.changed(dict(t.subject.module.named_buffers()), buffers):
        t.discard("it keeps statistics in training mode")
    try:
        for result in trained:
            t.same_result(result, evaluated, "training mode against eval mode")
    except Violation as found:
        if t.carries_state:
            raise
        # A model may well give scores to the loss, and probabilities or decisions to its users.
        raise Advice(found.message, expected=found.expected, actual=found.actual) from None


class _Watch:
    """Python's, numpy's and torch's global generators during a call: seeded, read before and after, put back.

    Torch's is seeded and put back by the call itself.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}

    def __enter__(self) -> None:
        self._kept = random.getstate(), np.random.get_state()
        random.seed(self.seed)
        np.random.seed(self.seed)
        self.before = self._read()

    def __exit__(self, *exception: object) -> None:
        self.after = self._read()
        random.setstate(self._kept[0])
        np.random.set_state(self._kept[1])

    @staticmethod
    def _read() -> dict[str, Any]:
        return {
            "torch's global generator": torch.get_rng_state().numpy().tobytes(),
            "Python's global generator (random)": random.getstate(),
            "numpy's global generator (numpy.random)": pickle.dumps(np.random.get_state()),
        }

    @property
    def moved(self) -> list[str]:
        """The generators that the call left in another state."""
        return [name for name, state in self.before.items() if self.after[name] != state]


def _watched(t: Trial, seed: int, subject: Subject | None = None) -> tuple[Result, _Watch]:
    watch = _Watch(seed)
    return t.call(subject=subject, seed=seed, guard=lambda: watch).kept(), watch


@check(
    "RP504",
    "mode.rng",
    when=repeatable,
    needs=Needs(lengths=(1, 2, 3), batches=(2, 3)),
    share=0.3,
    hint="Look for torch.manual_seed, random.seed or numpy.random.seed in forward, for random numbers that are drawn "
    "in eval mode and not used, and for a generator of the module's own that takes its seed from the clock.",
)
def rng(t: Trial) -> None:
    """A call in eval mode leaves the global random generators as they were. A call in training mode repeats under one
    seed, and does not reseed them.

    Why: A module that reseeds makes every later draw of the program the same, so that each epoch shuffles, drops and
    augments alike. One that draws in eval mode makes a training run depend on how often it was evaluated.
    Causes:
    - `torch.manual_seed(0)` in `forward` or in a helper, to make an initial state or a mask repeatable.
    - `numpy.random.seed` or `random.seed` on the way, in code that was taken from a script.
    - Masks or noise that are drawn before the module looks at `self.training`.
    - A `torch.Generator` or `numpy.random.default_rng()` of the module's own without a seed from outside.
    Fix: Draw only where the numbers are used, from the global generator or from one that is passed in, and never seed
    in a module; `torch.random.fork_rng` keeps what has to be seeded from getting out.
    """
    t.call()  # what is made at the first call may be random
    (_, one), (_, two) = _watched(t, 1), _watched(t, 2)
    for name in one.moved:
        doing = "reseeds" if one.after[name] == two.after[name] else "draws from"
        t.fail(f"a call in eval mode {doing} {name}", expected="the state from before the call", actual="another state")
    try:
        _repeats_in_training(t)
    except TargetRaisedError:
        t.discard("in training mode it refuses the call")


def _repeats_in_training(t: Trial) -> None:
    subjects = []
    for _ in range(2):
        with _Watch(3):  # a constructor may draw from any of them
            subjects.append(t.build())
    if t.changed(*(registered_tensors(subject.module) for subject in subjects)):
        t.discard("two modules that were built under one seed have different parameters")
    results = []
    for subject in subjects:
        with training(subject):
            results.append(_watched(t, 3, subject))
            other = _watched(t, 4, subject)[1]
        watch = results[-1][1]
        for name in watch.moved:
            if watch.after[name] == other.after[name]:
                t.fail(f"a call in training mode reseeds {name}", expected="a state that depends on the seed before")
    (one, _), (two, _) = results
    for what, now, was in (("output", two.output, one.output), ("state", two.state, one.state)):
        gap = difference(now, was, f"second training call under the same seed: {what}")
        if gap is not None:
            t.fail(gap.message, expected=gap.expected, actual=gap.actual)
