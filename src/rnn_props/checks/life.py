"""RP901 to RP904: a module is saved, copied, moved to another dtype, and its weights are written."""

from __future__ import annotations

import contextlib
import copy
import io
import pickle
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rnn_props.cases import Needs
from rnn_props.checks.registry import check
from rnn_props.checks.trial import Advice, Trial, Violation
from rnn_props.contracts import Contract
from rnn_props.subjects import Result, Subject, TargetRaisedError, hidden_tensors, leaves, registered_tensors


def repeatable(contract: Contract) -> str | None:
    """Two calls of one module can be compared."""
    if contract.capabilities.stateful and not contract.reset:
        return "it keeps its state between calls, and has no method that resets it"
    return None


def fresh(t: Trial, step: int = 0) -> Subject:
    """The case's module built once more, under another seed if `step` is not 0."""
    case = t.case
    seed = case.parameter_seed + step
    subject = t.factory.subject(case.hyperparameters, seed, dtype=case.dtype, scale=case.parameter_scale)
    return ready(t, subject)


def ready(t: Trial, subject: Subject) -> Subject:
    """A subject whose parameters are all there: lazy ones get their shape at the first call."""
    if any(is_lazy(tensor) for tensor in subject.module.parameters()):
        t.call(subject=subject)
    return subject


def stir(tensors: Mapping[str, Tensor], seed: int) -> None:
    """Give every floating tensor other values; what is positive stays so, since a variance may be among them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in tensors.values():
            if tensor.is_floating_point() or tensor.is_complex():
                factor, more = torch.rand(2, *tensor.shape, dtype=torch.float64, generator=generator)
                tensor.copy_(tensor * (1 + 0.5 * factor).to(tensor.dtype) + (0.2 * more).to(tensor.dtype))


def write(into: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Write values into the parameters and buffers of the same names, in place."""
    with torch.no_grad():
        for name, tensor in registered_tensors(into).items():
            if name in values and values[name].shape == tensor.shape:
                tensor.copy_(values[name])


def saved(value: Any) -> io.BytesIO:
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return buffer


def use_in_training(t: Trial, subject: Subject) -> None:
    """A call in training mode, and back to eval; some modules refuse a single row there by design."""
    with subject.doing("switching it to training mode") as module:
        module.train()
    with contextlib.suppress(TargetRaisedError):
        t.call(subject=subject, grad=True)
    with subject.doing("switching it to eval mode") as module:
        module.eval()


@check(
    "RP901",
    "life.state_dict",
    when=repeatable,
    share=0.4,
    explained_by=("RP904", "RP905", "RP911"),
    hint="Compare the keys of state_dict() with everything that the results depend on: non-persistent buffers, buffers "
    "that forward registers, keys that an overridden state_dict or load_state_dict drops or renames.",
)
def state_dict(t: Trial) -> None:
    """A state_dict that was saved and loaded (weights_only) into a fresh instance gives the same results there.

    Why: A checkpoint is what is left of a training run. If something that results depend on is not in it, the restored
    model computes something else, and mostly no error says so.
    Causes:
    - `register_buffer(..., persistent=False)` for statistics or random numbers that results depend on.
    - A buffer that is registered, or changes its shape, in `forward`: a fresh instance has no such key.
    - An overridden `state_dict` or `load_state_dict` that renames keys, strips a prefix, or calls the other one with
      `strict=False`, so that what does not fit is skipped silently.
    - Python objects from `get_extra_state`, which `torch.load` refuses by default.
    Fix: Register in the constructor, as a parameter or a persistent buffer, everything that can't be recomputed from
    the constructor's arguments, and leave `state_dict` and `load_state_dict` alone; old checkpoints are converted in
    `_load_from_state_dict`.
    """
    source = ready(t, t.subject)
    with source.doing("taking its state_dict") as module:
        persistent = module.state_dict()
    stir({name: tensor for name, tensor in registered_tensors(source.module).items() if name in persistent}, 17)
    use_in_training(t, source)
    expected = t.call().kept()
    with source.doing("saving its state_dict") as module:
        buffer = saved(module.state_dict())
    other = t.factory.subject(t.case.hyperparameters, t.case.parameter_seed + 1, dtype=t.case.dtype)
    with other.doing("loading its state_dict into a fresh instance") as module:
        values, refusal = _loaded(buffer)
        module.load_state_dict(values)
    t.same_result(t.call(subject=other), expected, "a fresh instance with the saved state_dict")
    if refusal:
        raise Advice(
            f"torch.load refuses its state_dict unless weights_only=False: {refusal}",
            expected="tensors, numbers and texts only",
            actual="other objects",
        )


def _loaded(buffer: io.BytesIO) -> tuple[Any, str]:
    """What was saved, and why torch.load refuses it by default, if it does."""
    try:
        return torch.load(buffer, weights_only=True), ""
    except pickle.UnpicklingError as error:
        buffer.seek(0)
        lines = [line.strip() for line in str(error).splitlines()]
        reason = next((line for line in lines if line.startswith(("WeightsUnpickler error", "Unsupported"))), lines[0])
        return torch.load(buffer, weights_only=False), reason


@check(
    "RP902",
    "life.copy",
    when=repeatable,
    needs=Needs(lengths=(1, 2, 3, 5), batches=(1, 2, 3)),
    share=0.3,
    explained_by=("RP904", "RP905", "RP906", "RP911"),
    hint="Look for functions that are bound to one instance (lambdas and closures over self or its layers), tensors "
    "with a history kept on self, and what __deepcopy__, __getstate__ and __setstate__ leave out or share.",
)
def copies(t: Trial) -> None:
    """A deep copy, and a module that was saved and loaded whole, give the same results, share nothing with the original
    and depend on their own weights alone.

    Why: Averaged weights, target networks, early stopping, ensembles and worker processes all work on copies. A copy
    that still runs the original's weights trains or evaluates the wrong model.
    Causes:
    - `self.forward = lambda x: ...`, or a closure over a layer: `deepcopy` keeps the function, and with it the
      original's layer; `pickle` refuses it.
    - A tensor with a gradient history kept on `self` (`self.attention = weights`): `deepcopy` raises.
    - A `__deepcopy__`, `__getstate__` or `__setstate__` of its own that shares buffers, or drops an attribute.
    - Locks, open files, generators and loggers' handlers on `self`.
    Fix: Keep plain data and modules on `self`, and look everything up through `self` at each call. What is kept for
    inspection is kept as `tensor.detach()`.
    """
    before = t.call().kept()
    t.call(grad=True)
    try:
        with t.subject.doing("deep-copying it after a call with gradients") as module:
            deep = copy.deepcopy(module)
    except TargetRaisedError as raised:
        place = _history_that_torch_keeps(t.subject.module)
        if not place:
            raise
        raise Advice(f"{raised} (a layer of torch's own keeps a tensor with a history at {place})") from raised
    _is_a_copy(t, deep, before, "a deep copy")
    if all(_has_a_name(type(part)) for part in module.modules()):
        with t.subject.doing("saving it whole with torch.save and loading it") as module:
            loaded = torch.load(saved(module), weights_only=False)
        _is_a_copy(t, loaded, before, "a saved and loaded module")


def _history_that_torch_keeps(module: nn.Module) -> str:
    """A tensor with a history that one of torch's layers keeps, as weight_norm makes it do, if no layer of the target's
    own keeps one."""
    kept_by_torch = ""
    for path, tensor in hidden_tensors(module).items():
        if tensor.grad_fn is None:
            continue
        owner = max((name for name in dict(module.named_modules()) if f"{path}.".startswith(f"{name}.")), default="")
        if not type(module.get_submodule(owner)).__module__.startswith("torch."):
            return ""
        kept_by_torch = kept_by_torch or path
    return kept_by_torch


def _has_a_name(cls: type) -> bool:
    """Whether pickle finds a class: one that was made inside a function has no name to be found by."""
    found: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is cls and not issubclass(cls, torch.jit.ScriptModule)


def _is_a_copy(t: Trial, module: Any, before: Result, what: str) -> None:
    if not isinstance(module, nn.Module):
        t.fail(f"{what} is an object of type {type(module).__name__}, and no module")
    own, others = registered_tensors(t.subject.module), registered_tensors(module)
    for name, tensor in own.items():
        if name not in others:
            t.fail(f"{what} has no {name}", expected=name, actual=", ".join(others) or "none")
        if tensor.numel() > 0 and tensor.data_ptr() == others[name].data_ptr():
            t.fail(f"{what} shares the memory of {name} with the original")
    copied = t.subject.with_module(module)
    t.same_result(t.call(subject=copied), before, what)
    # What a copy with other weights should give: what a module gives that had them before it was ever used.
    expected = fresh(t)
    stir({name: tensor for name, tensor in others.items() if name in registered_tensors(expected.module)}, 18)
    write(expected.module, others)
    t.same_result(t.call(subject=copied), t.call(subject=expected), f"{what} with weights of its own")
    t.same_result(t.call(), before, f"the original after the weights of {what} changed")


#: The methods that move a module, by the dtype that they move it to.
_MOVES = {"float32": "float", "float64": "double", "bfloat16": "bfloat16"}


def _several_dtypes(contract: Contract) -> str | None:
    if len([name for name in _MOVES if name in contract.capabilities.dtypes]) < 2:
        return "it works in one dtype only"
    return None


@check(
    "RP903",
    "life.moves_dtype",
    when=lambda contract: repeatable(contract) or _several_dtypes(contract),
    needs=Needs(lengths=(1, 2, 3, 5, 9), batches=(1, 2, 3)),
    share=0.3,
    explained_by=("RP105", "RP904", "RP905", "RP911"),
    hint="Something keeps the dtype of the first call: a zero state, mask or table of positions that is cached by size "
    "alone, a list of weights, a remembered dtype, an _apply that leaves something out.",
)
def moves_dtype(t: Trial) -> None:
    """`.float()`, `.double()` and `.bfloat16()` take effect entirely on a module that was used before: its results, and
    their dtype, are those of one that was moved unused.

    Why: Models are trained in one precision and evaluated or served in another. What stays behind raises at the first
    call after the move, or rounds everything to the old dtype.
    Causes:
    - A cache keyed by size alone: `if self.zeros.size(1) != B: self.zeros = x.new_zeros(...)`.
    - `self.dtype = x.dtype` at the first call.
    - A list of the weights' values that was taken at the first call (`[w.data for w in ...]`), which a move replaces.
    - An `_apply`, `to` or `double` of its own that forgets a part.
    Fix: Make zeros and tables where they are used (`x.new_zeros(...)`), or register them as buffers, which
    `Module._apply` moves; where a cache must be, its key has the dtype and the device.
    """
    t.call()
    subject = t.subject
    moves: list[str] = []
    names = [name for name in _MOVES if name in t.contract.capabilities.dtypes]
    for dtype in dict.fromkeys(name for name in (*names, t.case.dtype) if name in _MOVES):
        if dtype == t.case.dtype and not moves:
            continue
        moved = Trial(replace(t.case, dtype=dtype), t.contract, t.factory)
        unused = fresh(t)
        try:
            for name in (*moves, dtype):
                unused = _moved(unused, name)
            wanted = {name: tensor.dtype for name, tensor in registered_tensors(unused.module).items()}
            expected = moved.call(subject=unused)
        except TargetRaisedError:
            continue  # this dtype does not work at all, which is for other checks to say
        moves.append(dtype)
        subject = _moved(subject, dtype)
        what = f"after a call in {t.case.dtype} and {', '.join(f'.{_MOVES[name]}()' for name in moves)}"
        for name, tensor in registered_tensors(subject.module).items():
            if tensor.dtype != wanted.get(name, tensor.dtype):
                _wrong_dtype(name, wanted[name], tensor.dtype, what)
        try:
            result = moved.call(subject=subject)
        except TargetRaisedError as raised:
            raise TargetRaisedError(raised.error, f"calling it {what}") from raised.error
        pairs = zip(leaves([result.output, result.state]), leaves([expected.output, expected.state]), strict=True)
        for (_, leaf), (_, wanted_leaf) in pairs:
            if leaf.dtype != wanted_leaf.dtype:
                _wrong_dtype("a result", wanted_leaf.dtype, leaf.dtype, what)
        moved.same_result(result, expected, what)
    if not moves:
        t.discard("there is no second dtype in which it works")


def _moved(subject: Subject, dtype: str) -> Subject:
    method = _MOVES[dtype]
    with subject.doing(f"moving it with .{method}()") as module:
        return subject.with_module(getattr(module, method)(), dtype)


def _wrong_dtype(name: str, wanted: torch.dtype, actual: torch.dtype, what: str) -> None:
    raise Violation(f"{what}: {name} is {actual}, expected {wanted}", expected=str(wanted), actual=str(actual))


@check(
    "RP904",
    "life.weights_live",
    when=repeatable,
    needs=Needs(lengths=(1, 2, 3, 5), batches=(1, 2, 3), picks=2),
    share=0.4,
    explained_by=("RP506", "RP905", "RP911"),
    hint="Something is computed from the weights once and kept: fused or transposed copies, views, a norm, exp() of a "
    "parameter. Compute it in forward.",
)
def weights_live(t: Trial) -> None:
    """New weights that are written in place, put in as `.data`, or loaded take effect at the next call, also after the
    module has been used.

    Why: An optimiser writes weights in place after each call, and `load_state_dict` does the same. A module that goes
    on with a copy of the old ones does not train, or serves the model before last, and nothing raises.
    Causes:
    - Weights fused (`torch.cat((w_ih, w_hh), 1)`), transposed or normalised in the constructor or at the first call,
      and kept on `self`.
    - A cache for calls without gradients that is emptied by `train()` alone.
    - `self.w = self.weight.data` or `self.weight.view(...)` taken once: `.data = ...`, `.double()` and `.to(device)`
      give the parameter other memory.
    Fix: Compute what follows from the weights in `forward`; it costs little beside the recurrence. A cache that must be
    has to be emptied whenever a weight changes, and there is no event for that.
    """
    grad = bool(t.pick(0, 2))
    other = fresh(t, 1)
    # A module under another seed shows what a constructor computed; where all its weights are the same again, or in
    # half of the cases, it is given others before it is used.
    own, others = registered_tensors(ready(t, t.subject).module), registered_tensors(other.module)
    if t.pick(1, 2) or all(torch.equal(own[name], others[name]) for name in own if name in others):
        stir(dict(other.module.named_parameters()), 19)
    first = {name: tensor.detach().clone() for name, tensor in own.items()}
    second = {name: tensor.detach().clone() for name, tensor in others.items()}
    if not first:
        t.discard("it has no parameters")
    with other.doing("saving its state_dict") as module:
        second_state = copy.deepcopy(module.state_dict())
    of_second = t.call(subject=other, grad=grad).kept()
    of_first = t.call(grad=grad).kept()
    write(t.subject.module, second)
    t.same_result(t.call(grad=grad), of_second, "after weights were written in place")
    _replace_data(t.subject.module, first)
    t.same_result(t.call(grad=grad), of_first, "after weights were replaced through .data")
    # What loading does to a module that was never used, right or wrong, is for RP901 to say.
    unused = fresh(t)
    write(unused.module, first)
    try:
        for subject in (unused, t.subject):
            with subject.doing("loading a state_dict") as module:
                module.load_state_dict(second_state)
    except TargetRaisedError:
        t.discard("its state_dict can't be loaded, which another check holds against it")
    loaded = t.call(subject=unused, grad=grad)
    t.same_result(t.call(grad=grad), loaded, "after weights were loaded with load_state_dict")
    # What a constructor put into a buffer was written above, too; here it is left behind.
    stir(dict(t.subject.module.named_parameters()), 20)
    recorded = t.call(grad=True).kept()
    t.same_result(
        t.call(), recorded, "after parameters alone were written in place, without gradients against with them"
    )


def _replace_data(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    parameters = dict(module.named_parameters())
    for name, tensor in registered_tensors(module).items():
        if name in values and name in parameters:
            tensor.data = values[name].clone()
    write(module, values)
