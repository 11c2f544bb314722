"""RP5xx: mode and randomness."""

from __future__ import annotations

import contextlib

import torch

from rnn_props.cases import Needs
from rnn_props.checks.registry import check
from rnn_props.checks.trial import Trial
from rnn_props.numerics import difference
from rnn_props.subjects import Result, TargetRaisedError, clone


@check(
    "RP501",
    "mode.eval_deterministic",
    after=("RP101", "RP102"),
    hint="Something random runs in eval mode: F.dropout without training=self.training, a random initial state, "
    "memory that is not initialised.",
)
def eval_deterministic(t: Trial) -> None:
    """In eval mode, two calls agree exactly, whatever the random generator's state."""
    # Each call has arguments of its own, since one that writes into them (RP207) is another matter.
    first = t.call(t.input.clone(), clone(t.state), seed=1)
    kept = [clone(first.output), clone(first.state)]
    second = t.call(t.input.clone(), clone(t.state), seed=2)
    for what, now, was in (("output", second.output, kept[0]), ("state", second.state, kept[1])):
        gap = difference(now, was, f"second call's {what}")
        if gap is not None:
            t.fail(gap.message, expected=gap.expected, actual=gap.actual)


@check(
    "RP505",
    "mode.globals",
    needs=Needs(lengths=(1, 2, 3), batches=(1, 2)),
    after=("RP101", "RP102"),
    share=0.5,
    hint="A global switch is set and never put back: use the context managers (torch.no_grad(), torch.autocast(...)) "
    "in a with statement.",
)
def globals_kept(t: Trial) -> None:
    """Grad mode, default dtype and device, thread count, deterministic and autocast flags are as before a call."""
    changes = t.factory.changes_while_building(t.case.hyperparameters, t.case.parameter_seed)
    if changes:
        t.fail(f"building the module changed {'; '.join(changes)}")
    for training in (False, True):
        t.subject.module.train(training)
        for grad in (True, False):
            # In training mode some modules refuse a single row by design; what they changed is the matter here.
            with contextlib.suppress(TargetRaisedError) if training else contextlib.nullcontext():
                t.call(grad=grad)
            if t.subject.global_changes:
                mode = "training" if training else "eval"
                t.fail(f"a call in {mode} mode changed {'; '.join(t.subject.global_changes)}")


@check(
    "RP506",
    "mode.no_grad",
    hint="A faster path that is taken without gradients computes something else.",
)
def no_grad(t: Trial) -> None:
    """Results under no_grad, inference_mode and grad mode agree."""
    recorded = t.call(grad=True)
    expected = Result(clone(recorded.output), clone(recorded.state))
    t.same_result(t.call(grad=False), expected, "under no_grad")
    inference = t.call(guard=torch.inference_mode)
    t.same_result(Result(clone(inference.output), clone(inference.state)), expected, "under inference_mode")
