"""RP5xx: mode and randomness."""

from __future__ import annotations

import contextlib

import torch

from rnn_props.cases import Needs
from rnn_props.checks.registry import check
from rnn_props.checks.trial import Trial
from rnn_props.numerics import difference
from rnn_props.subjects import TargetRaisedError, clone


@check(
    "RP501",
    "mode.eval_deterministic",
    after=("RP101", "RP102"),
    hint="Something random runs in eval mode: F.dropout without training=self.training, a random initial state, "
    "memory that is not initialised.",
)
def eval_deterministic(t: Trial) -> None:
    """In eval mode, two calls agree exactly, whatever the random generator's state.

    Why: Predictions that change from call to call cannot be reproduced or tested. Every comparison of two calls rests
    on this rule, so most other checks are blocked where it is broken.
    Causes:
    - `F.dropout(x, p)`: its argument `training` is True unless it is passed.
    - `F.scaled_dot_product_attention(..., dropout_p=p)`, which drops in eval mode, too.
    - Zoneout, noise or dropped weights written by hand, `torch.rand_like(h) < p`, without `if self.training`.
    - A random initial state, `torch.randn(L, B, H)`, where none is given.
    - Memory that was never written: `torch.empty(...)` or `torch.Tensor(n, m)` as a state, buffer or parameter.
    - Layers kept in a plain list, so that `.eval()` does not reach the `nn.Dropout` among them.
    Fix: Pass `self.training` to every functional dropout (`F.dropout(x, p, self.training)`), put other randomness
    behind `if self.training`, use `x.new_zeros` for default states and `nn.ModuleList` for layers.
    """
    # Each call has arguments of its own, since one that writes into them (RP207) is another matter.
    first = t.call(t.input.clone(), clone(t.state), seed=1)
    kept = [clone(first.output), clone(first.state)]
    # What a stateful module keeps although it was reset is RP213's matter.
    other = t.build() if t.contract.convention == "stateful" else t.subject
    second = t.call(t.input.clone(), clone(t.state), seed=2, subject=other)
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
    """Grad mode, default dtype and device, thread count, deterministic and autocast flags are as before a call.

    Why: These switches belong to the whole process. A call that leaves grad mode off stops everything after it from
    learning; one that changes the default dtype changes the precision of other people's models.
    Causes:
    - `torch.set_grad_enabled(False)` as a statement, where `with torch.no_grad():` is meant.
    - `torch.set_default_dtype(x.dtype)` or `torch.set_default_device(...)`, to save writing `dtype=` and `device=`.
    - `torch.set_num_threads(...)` or `torch.use_deterministic_algorithms(True)` in a constructor or in `forward`.
    - A switch that is put back at the end of `forward`, but not where it returns early or raises.
    Fix: Use the context managers in a `with` statement, pass dtype and device as arguments, and leave process-wide
    settings to the program that uses the module.
    """
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
    """Results under no_grad, inference_mode and grad mode agree.

    Why: Models are trained with gradients and used without. If the two compute different things, what is evaluated is
    not what was trained.
    Causes:
    - A fast path behind `if not torch.is_grad_enabled():` or `torch.is_inference_mode_enabled()` whose equations have
      drifted: no hidden bias, another gate order, rounded or reduced precision.
    - A fast path written for one configuration and taken in all: `bias=False`, two directions and proj_size are the
      usual misses.
    - Fused or normalised weights cached by the first call without gradients, and stale from then on.
    - Operations in place that are allowed only without gradients, on a tensor that is read again later.
    Fix: Let both paths share one step function, and choose between implementations for speed alone. Keep a fast path
    only where a test compares it with the plain one over all hyperparameters.
    """
    recorded = t.call(grad=True)
    expected = recorded.kept()
    t.same_result(t.call(grad=False), expected, "under no_grad")
    inference = t.call(guard=torch.inference_mode)
    t.same_result(inference.kept(), expected, "under inference_mode")
