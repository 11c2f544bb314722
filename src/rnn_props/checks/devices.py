"""RP8xx: devices. The same module, wherever its tensors are; and the meta device, which knows shapes and no values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.numeric import (
    ILL_CONDITIONED,
    Results,
    hold,
    reference_of,
    results_of,
    rules_of,
    tensors,
    twin,
    widest,
    with_gradients,
)
from rnn_props.checks.registry import ACCELERATORS, BASICS, check
from rnn_props.checks.trial import Advice, Trial, Violation
from rnn_props.contracts import Contract
from rnn_props.devices import kind_of
from rnn_props.numerics import ARITHMETIC, GRADIENT, agreement, difference
from rnn_props.subjects import DTYPES, Result, Subject, TargetRaisedError, Tree, leaves, map_tree, map_with_rules

#: What operations cost on the simulated device grows with the number of steps, and launches of kernels do on others.
_LENGTHS = (1, 2, 3, 5, 8)
_NEEDS: Mapping[str, Any] = {
    "dtypes": "each",
    "lengths": _LENGTHS,
    "batches": (1, 2, 3, 5),
    "states": ("none", "random"),
    "fills": ("normal", "integers", "impulse"),
    "rows": ("full", "mixed", "one_short", "sorted"),
    "packed": True,
}
#: What a device has no numbers of.
_LACKS = {"mps": ("float64",)}


def on_device(t: Trial, subject: Subject | None = None) -> Subject:
    """The module of the case on the check's device; a case whose dtype the device has not is discarded."""
    if t.case.dtype in _LACKS.get(kind_of(t.device), ()):
        t.discard(f"{t.device} has no {t.case.dtype}")
    return (subject or t.build()).moved(t.device)


@contextmanager
def on_the_cpu(t: Trial) -> Iterator[None]:
    """For calls on the CPU that something is compared with: where these fail, the case is discarded."""
    try:
        yield
    except TargetRaisedError as raised:
        t.discard(f"it fails on the CPU, too, which is not about devices: {raised}")


# -- RP801 ------------------------------------------------------------------------------------------------------------


@check(
    "RP801",
    "device.placement",
    on=ACCELERATORS,
    needs=Needs(**_NEEDS),
    share=0.4,
    hint="A tensor is made on the CPU, or kept there, whatever device the module is on: make it with x.new_zeros(...) "
    "or device=x.device, and register what belongs to the module as a parameter or buffer.",
)
def placement(t: Trial) -> None:
    """With module and input on a device, every call inside accepts its operands, and every result is on that device.

    Why: A module that works on the CPU alone fails at its first call on a GPU, in eval or only in training, with a
    state or only without one. Results that come back on the CPU fail one line later, in code of somebody else, or make
    every step wait for a copy.
    Causes:
    - `torch.zeros(L, B, H)` for a state that was left out: without `device=` it is on the CPU.
    - A tensor in a plain attribute, a list or a dict; cells in a plain list instead of `nn.ModuleList`: `.to(...)`
      moves neither.
    - A state, mask or buffer that was made by an earlier call, and is used again on another device.
    - A mask, a count of steps or an output buffer from `torch.ones(...)`, `torch.arange(...)`, `torch.empty(...)`.
    - `h_n.cpu()` before it is returned, `.cuda()` written in, or `x.numpy()` on the way.
    Fix: Make tensors from one that is there (`x.new_zeros(...)`, `torch.zeros_like(h)`) or with `device=x.device`.
    Register parameters, buffers (`register_buffer(..., persistent=False)` for constants) and modules.
    """
    plain = t.build()
    for training in (False, True):
        plain.module.train(training)
        with on_the_cpu(t):
            t.call(subject=plain)
    subject = on_device(t)
    for training in (False, True):
        subject.module.train(training)
        try:
            value = subject.call_raw(subject.here(t.given), subject.here(t.state), lengths=t.lengths)
        except TargetRaisedError as raised:
            if _beyond_simulation(t, raised):
                t.discard(f"the simulated device can't run it: {raised}")
            raise
        for name, leaf in results_of(subject.unpack(value)).items():
            if leaf is not None and leaf.device.type != kind_of(t.device):
                when = " in training mode" if training else ""
                t.fail(
                    f"{name}: expected on {t.device}, got on {leaf.device}{when}",
                    expected=t.device,
                    actual=str(leaf.device),
                )


def _beyond_simulation(t: Trial, raised: TargetRaisedError) -> bool:
    """Whether a call fails on the simulated device for another reason than that devices met."""
    return kind_of(t.device) == "sim" and not mixes_devices(raised.error, "sim")


# -- RP802, RP803 -----------------------------------------------------------------------------------------------------


@check(
    "RP802",
    "device.agreement",
    on=ACCELERATORS,
    when=when.lacks("per_tensor_quantised", "its numbers are quantised by contract: they have few digits"),
    needs=Needs(**_NEEDS, roles={"dropout": (0.0,)}),
    after=(*BASICS, "RP801"),
    explained_by=("RP105", "RP701", "RP905"),
    share=0.4,
    hint="Compare the code paths: a branch on x.is_cuda or device.type, a kernel of your own, autocast, a cast that is "
    "made on the device alone, memory from torch.empty that is read before it is written.",
)
def agrees(t: Trial) -> None:
    """Outputs and states on the device are those of float64 on the CPU within what rounding explains, in eval mode and
    in training mode without dropout.

    Why: A model is trained on one device and used on another. Where they differ by more than rounding, one of them is
    wrong, and as a rule nobody looks: accuracy is a little worse.
    Causes:
    - A kernel of your own (C++, CUDA, Triton) with an index, a stride or a size that is wrong for odd sizes, short
      sequences or batches of one.
    - A fast path, such as `if x.is_cuda:`, that leaves out a bias, a mask or the initial state, or computes in float16.
    - Memory from `torch.empty` that is read before it is written: zero on the CPU by chance.
    - A race: a kernel that is launched on another stream, or writes its input.
    Fix: Hold the fast path against the plain one in float64, step by step and layer by layer. Make states with
    `x.new_zeros`, and write to memory before reading it.
    """
    steady = _is_steady_in_training(t)

    def run(subject: Subject, inputs: Any, state: Tree) -> Results:
        found = results_of(subject.call(inputs, state, lengths=t.lengths))
        if steady:
            trained = results_of(_in_training(subject, inputs, state, lengths=t.lengths))
            found |= {f"{name} in training mode": value for name, value in trained.items()}
        return found

    _judged(t, run)


def _in_training(subject: Subject, inputs: Any, state: Tree, **options: Any) -> Result:
    subject.module.train()
    try:
        return subject.call(inputs, state, **options)
    finally:
        subject.module.eval()


def _is_steady_in_training(t: Trial) -> bool:
    """Whether training mode is not random, as it is with a dropout that no argument turns off."""
    with on_the_cpu(t):
        first, second = (_in_training(t.subject, t.given, t.state, lengths=t.lengths, seed=seed) for seed in (0, 1))
    return not t.changed([first.output, first.state], [second.output, second.state])


@check(
    "RP803",
    "device.gradients",
    on=ACCELERATORS,
    when=when.all_of(
        when.capable("differentiable", "it is not differentiable by contract"),
        when.lacks("per_tensor_quantised", "its numbers are quantised by contract: they have few digits"),
    ),
    needs=Needs(**_NEEDS, roles={"dropout": (0.0,)}),
    after=(*BASICS, "RP801", "RP802"),
    explained_by=("RP105", "RP601", "RP602", "RP701"),
    share=0.3,
    hint="Compare the backward paths: an autograd.Function or kernel of your own, a branch on the device, and what is "
    "saved for backward.",
)
def gradients(t: Trial) -> None:
    """Gradients on the device are those of float64 on the CPU within what rounding explains.

    Why: Results that are right say nothing of gradients: a fast kernel has a backward of its own. With wrong gradients
    a model trains to something worse.
    Causes:
    - A backward kernel that leaves out a term, such as the gradient through the initial state or of a bias.
    - Tensors saved for backward in float16, or overwritten before backward reads them.
    - Atomic additions into memory that was not zeroed.
    Fix: Hold an autograd.Function against `torch.autograd.gradcheck` on the device in float64, with the sizes of the
    case.
    """
    if not _is_steady_in_training(t):
        t.discard("in training mode it is random even without dropout")

    def run(subject: Subject, inputs: Any, state: Tree) -> Results:
        subject.module.train()  # cuDNN has no backward in eval mode
        try:
            found = with_gradients(t, subject, inputs, state)
        finally:
            subject.module.eval()
        return {name: value for name, value in found.items() if name.startswith(GRADIENT)}

    _judged(t, run)


def _judged(t: Trial, run: Callable[[Subject, Any, Tree], Results]) -> None:
    """Hold a run on the device against the same run in float64 on the CPU."""
    wide = widest(t.contract)
    against = t.subject if t.case.dtype == wide else twin(t, t.subject, wide)
    arithmetic = ARITHMETIC[DTYPES[t.case.dtype]]
    reference = reference_of(
        t, against, lambda inputs, state: run(against, inputs, state), t.given, t.state, arithmetic
    )
    subject = on_device(t)
    try:
        results = run(subject, t.given, t.state)
    except TargetRaisedError as raised:
        if "not implemented for" in str(raised.error) or _beyond_simulation(t, raised):
            t.discard(f"{t.device} has no kernel for it: {raised}")
        raise
    with on_the_cpu(t):
        found = agreement(results, reference, rules_of(t))
    t.note(found.errors(reference))
    hold(t, found, f"in {t.case.dtype} on {t.device}, against {wide} on the CPU")
    if not found.judged:
        t.discard(ILL_CONDITIONED)
    again = difference(tensors(run(subject, t.given, t.state)), tensors(results), "results")
    if again is not None:
        message = f"two equal calls on {t.device} differ: {again.message} (difference {again.size:.2g})"
        raise Advice(message, expected="the same bits", actual="others")


# -- RP804 ------------------------------------------------------------------------------------------------------------


@check(
    "RP804",
    "device.moves",
    on=ACCELERATORS,
    needs=Needs(**_NEEDS),
    after=(*BASICS, "RP801"),
    explained_by=("RP206", "RP903", "RP905"),
    share=0.3,
    hint="Something stays behind when a module that was used is moved: a cached state, mask or flattened weight that "
    "is no buffer, or is made only once.",
)
def moves(t: Trial) -> None:
    """A module that was used on the CPU works on the device, and back on the CPU gives the first results again.

    Why: Models are moved after they were used: to evaluate, to export, to make room. What stays behind raises then, or
    is a weight or state of before.
    Causes:
    - A cache on `self` (state, mask, positional table, flattened weights) made by the first call and kept for all.
    - `if self.h is None:` without a look at the input's device.
    - References to parameters that were taken in the constructor: `.to(...)` may put others in their place.
    - An `_apply` or `to` of the module's own that leaves something out on the way back.
    Fix: Register what is kept as a buffer, or make it from the input at each call. Key a cache by device and dtype.
    """
    subject = t.build()
    with on_the_cpu(t):
        first = t.call(subject=subject).kept()
    there = on_device(t, subject)
    try:
        t.call(subject=there)
    except TargetRaisedError as raised:
        if _beyond_simulation(t, raised):
            t.discard(f"the simulated device can't run it: {raised}")
        raise
    back = there.moved("cpu")
    for name, tensor in (*back.module.named_parameters(), *back.module.named_buffers()):
        if tensor.device.type != "cpu":
            t.fail(f"{name} is on {tensor.device} after the module was moved back to the CPU")
    t.same_result(t.call(subject=back), first, f"on the CPU after it was used on {t.device}")


# -- RP805 ------------------------------------------------------------------------------------------------------------


@check(
    "RP805",
    "device.mixed",
    on=ACCELERATORS,
    needs=Needs(**{**_NEEDS, "rows": ("full",), "packed": False}, batched=None),
    after=(*BASICS, "RP801"),
    explained_by=("RP401", "RP402"),
    share=0.3,
    hint="Compare devices before computing, as dtypes: x.device != self.weight.device is a RuntimeError.",
)
def mixed(t: Trial) -> None:
    """Input, state and parameters on different devices are rejected.

    Why: torch never moves a tensor unasked. A module that does so hides a copy in every step, and one that computes
    some of it on either device returns results from a place that nobody expects.
    Causes:
    - `x = x.to(self.weight.device)` or `h = h.to(x.device)`, meant as a convenience.
    - A branch that never touches the argument: a state that is ignored is not missed.
    - `torch.as_tensor(h, device=...)`, or values that go through a list or numpy.
    Fix: Leave it to torch, which raises where the first operation needs both, or compare devices at the start and raise
    a RuntimeError that names both.
    """
    subject = on_device(t)
    there, here = (subject.here(t.given), subject.here(t.state)), (t.given, t.state)
    mixes = {f"input on the CPU, module on {t.device}": (here[0], there[1])}
    if t.state is not None:
        mixes[f"state on the CPU, input and module on {t.device}"] = (there[0], here[1])
    for what, (inputs, state) in mixes.items():
        try:
            result = subject.unpack(subject.call_raw(inputs, state, lengths=t.lengths))
        except TargetRaisedError:
            continue
        moved = Result(*(map_tree(lambda leaf: leaf.cpu(), tree) for tree in (result.output, result.state)))
        try:
            t.same_result(moved, t.call())
        except Violation as other:
            message = f"{what}: accepted, with wrong results: {other.message}"
            raise Violation(message, expected="an exception", actual="accepted", kind="accepted") from None
        message = f"{what}: accepted; the module moves it by itself"
        raise Advice(message, expected="an exception", actual="accepted", kind="accepted")


def needs_no_values(contract: Contract) -> str | None:
    """What it does depends on shapes alone, as far as the contract says."""
    if "lengths" in contract.arguments:
        return "it reads its lengths, and where only shapes are known there is nothing to read"
    return None


@check(
    "RP807",
    "device.meta",
    when=needs_no_values,
    # Time on the meta device goes up with the number of operations alone.
    needs=Needs(lengths=(1, 2, 5), batches=(1, 2, 3), states=("none", "random"), fills=("normal",), batched=None),
    explained_by=("RP103", "RP105", "RP106", "RP801", "RP905"),
    share=0.25,
    patience=3,
    compiler=True,  # meta kernels come with it
    hint="A tensor is made on the CPU whatever device the module is on: make it with x.new_zeros(...) or with "
    "device=x.device, and register what belongs to the module as a parameter or buffer.",
)
def on_meta(t: Trial) -> None:
    """On the meta device, input, state and parameters are never mixed with tensors of the CPU, and results have the
    shapes of their rules.

    Why: What is mixed with a tensor of the CPU on meta is mixed on every accelerator, too, and raises there. Meta shows
    it without one. Large models are also built, counted and sharded on meta.
    Causes:
    - `torch.zeros(L, B, H)` for a state that was left out: without `device=` it is on the CPU.
    - A mask, a count of steps or a table of positions from `torch.arange(T)` or `torch.ones(T)`, made at each call.
    - A tensor in a plain attribute or in a list, which `.to(...)` does not move.
    - `device="cuda" if x.is_cuda else "cpu"`, which knows two devices.
    Fix: Make tensors from one that is there (`x.new_zeros(...)`, `torch.zeros_like(h)`), or pass `device=x.device`, and
    register constants with `register_buffer(..., persistent=False)`.
    """
    subject = t.build()
    try:
        with subject.doing("moving it to the meta device") as module:
            module.to("meta")
        result = t.call(t.input.to("meta"), map_tree(lambda leaf: leaf.to("meta"), t.state), subject=subject)
    except TargetRaisedError as raised:
        if mixes_devices(raised.error, "meta"):
            raise Violation(f"on the meta device, {raised}", kind="raised", where=raised.where) from None
        t.discard(f"it needs values: on the meta device, {raised}")
    for name, leaf in leaves({"output": result.output, "state": result.state}):
        if leaf.device.type != "meta":
            what = name.strip("[']")
            t.fail(f"{what}: expected on meta, got on {leaf.device}", expected="meta", actual=str(leaf.device))
    if t.rules.output is not None:
        t.shaped(result.output, t.rules.output, "output on the meta device")
    map_with_rules(lambda leaf, rule: t.shaped(leaf, rule, "state on the meta device"), result.state, t.rules.state)


#: What torch says to `.numpy()`, and to `.cuda()` where there is no CUDA.
_WRITTEN_IN = ("numpy", "not compiled with CUDA", "No CUDA GPUs", "no NVIDIA driver")


def mixes_devices(error: BaseException, device: str) -> bool:
    """Whether an exception says that tensors of the CPU and of a device met, or that numpy or CUDA was asked for.

    On meta, others say that a value was asked for, or that an operation has no meta kernel; neither is wrong. A matrix
    product takes a matrix of the CPU without a word there (torch 2.13), and writing into a tensor of the CPU looks like
    asking for values: what is mixed there and shows nowhere else is RP801's to find.
    """
    if isinstance(error, NotImplementedError):
        return False
    named = re.findall(rf"(?<![.\w])(cpu|{device})\b", str(error))  # a device, not the method `.cpu()`
    if device != "meta" and any(text in str(error) for text in _WRITTEN_IN):
        return True
    return {"cpu", device} <= set(named) and "device" in str(error)
