"""The module under test: built from hyperparameters, called by its convention, results unpacked.

Everything that runs the target's code goes through here. It is timed, what it raises is wrapped (so that it is never
taken for an error of a check), and torch's global state is put back after it.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnn_props.contracts import CallRules, Contract, ShapeRule
from rnn_props.devices import move
from rnn_props.devices import seed as seed_device
from rnn_props.subjects.adapters import Adapter, as_adapter, load_adapter
from rnn_props.subjects.calling import (
    UnusableResultError,
    call_arguments,
    canonical,
    kind_of_value,
    native,
    no_starts,
    split,
    token_ids,
)
from rnn_props.subjects.frames import own_frame
from rnn_props.subjects.hygiene import GlobalState, kept_clean
from rnn_props.subjects.trees import Tree, clone, map_tree

DTYPES: Mapping[str, torch.dtype] = {
    name: getattr(torch, name)
    for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "complex64", "bool")
}


class TargetRaisedError(Exception):
    """The target raised. `error` is what it raised, `doing` what it was asked to do, `where` its own last frame."""

    def __init__(self, error: BaseException, doing: str) -> None:
        super().__init__(f"{doing} raised {type(error).__name__}: {error}")
        self.error = error
        self.doing = doing
        self.where = own_frame(error)


@dataclass(frozen=True, slots=True)
class Result:
    """What a call gave: the output (None for a cell) and the state (None for a model)."""

    output: Any
    state: Tree

    def kept(self) -> Result:
        """A copy that no later call can change."""
        return Result(clone(self.output), clone(self.state))


@dataclass(slots=True)
class Stopwatch:
    """Seconds spent inside the target's code."""

    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started


class Factory:
    """Builds modules of one target."""

    def __init__(self, build: Any, contract: Contract, stopwatch: Stopwatch | None = None) -> None:
        self.contract = contract
        self.adapter = adapter_of(contract)
        self.build = as_builder(build) if self.adapter is None else _adapted(self.adapter, build)
        self.stopwatch = stopwatch or Stopwatch()

    def module(self, hyperparameters: Mapping[str, Any], seed: int) -> nn.Module:
        """One module, its parameters initialised by its own constructor under the seed.

        Raises:
            TargetRaisedError: the constructor raised.
            UnusableResultError: it returned something that is no module.
        """
        keywords = {**self.contract.fixed, **hyperparameters}
        with kept_clean(seed), self.stopwatch.running(), _target(f"building it with {_arguments(keywords)}"):
            module = self.build(**keywords)
        if not isinstance(module, nn.Module):
            raise UnusableResultError(
                f"calling the target with {_arguments(keywords)} gave {kind_of_value(module)}, which is no "
                "torch.nn.Module"
            )
        return module

    def changes_while_building(self, hyperparameters: Mapping[str, Any], seed: int) -> list[str]:
        """What building a module changes of torch's global settings, in words."""
        with kept_clean(seed), self.stopwatch.running():
            before = GlobalState.now()
            with _target("building it"):
                self.build(**self.contract.fixed, **hyperparameters)
            return before.changes(GlobalState.now())

    def subject(
        self, hyperparameters: Mapping[str, Any], seed: int, *, dtype: str, scale: float = 1.0, device: str = "cpu"
    ) -> Subject:
        """One subject in eval mode, of the given dtype and on the given device; `scale` multiplies every parameter."""
        module = self.module(hyperparameters, seed)
        with kept_clean(), self.stopwatch.running(), _target(f"moving it to {dtype}"):
            module = _in_dtype(module, DTYPES[dtype]).eval()
        if scale != 1.0:
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.mul_(scale)
        subject = Subject(module, self.contract, hyperparameters, self.stopwatch, dtype)
        return subject if device == "cpu" else subject.moved(device)


class Subject:
    """One built module and how to call it.

    A subject that is on an accelerator is given tensors of the CPU, and gives tensors of the CPU: it moves them to its
    device and back.
    """

    def __init__(
        self,
        module: nn.Module,
        contract: Contract,
        hyperparameters: Mapping[str, Any],
        stopwatch: Stopwatch,
        dtype: str,
        device: str = "cpu",
    ) -> None:
        self.module = module
        self.contract = contract
        self.hyperparameters = hyperparameters
        self.stopwatch = stopwatch
        self.dtype = dtype
        self.device = device
        self.adapter = adapter_of(contract)
        self._lengths_on: str | None = None
        self.global_changes: list[str] = []

    def rules(self, *, batched: bool = True) -> CallRules:
        return self.contract.rules(self.hyperparameters, batched=batched)

    def call(self, inputs: Any, state: Tree = None, **options: Any) -> Result:
        """Call the module by its convention, and unpack what it returns; arguments as in `call_raw`.

        Raises:
            TargetRaisedError: the module raised.
            UnusableResultError: it returned something that the convention does not know.
        """
        if self.device == "cpu":
            return self.unpack(self.call_raw(inputs, state, **options))
        result = self.unpack(self.call_raw(self.here(inputs), self.here(state), **options))
        return Result(_moved(result.output, "cpu"), _moved(result.state, "cpu"))

    def here(self, tree: Tree) -> Tree:
        """A tree of tensors on the subject's device."""
        return _moved(tree, self.device)

    def moved(self, device: str) -> Subject:
        """The subject after `module.to(device)`; it is the same module.

        Raises:
            TargetRaisedError: it can't be moved.
        """
        with self.doing(f"moving it to {device}") as module:
            moved = move(module, device)
        return Subject(moved, self.contract, self.hyperparameters, self.stopwatch, self.dtype, device)

    def call_raw(
        self,
        inputs: Any,
        state: Tree = None,
        *,
        lengths: Sequence[int] | Tensor | None = None,
        going_on: bool = False,
        grad: bool = False,
        seed: int = 0,
        guard: Callable[[], Any] | None = None,
        time_spans: Tensor | None = None,
        starts: Tensor | None = None,
    ) -> Any:
        """Call the module; a state of None is left out.

        Args:
            inputs: the input, in the layout of the contract's rule, or packed.
            state: the initial state, or None.
            lengths: each row's length, for a module that takes them; all steps of every row by default.
            going_on: a stateful module goes on from where it is; otherwise it is reset first.
            grad: whether gradients are recorded.
            seed: of torch's generator during the call (dropout).
            guard: a context manager to call in, such as `torch.inference_mode`.
            time_spans: the time between steps, for a module that takes it; left out by default.
            starts: where an episode begins, bools in the layout of the input's rule without its features, for a module
                that takes such flags; nowhere by default.

        Raises:
            TargetRaisedError: the module raised.
        """
        arguments, keywords = self.call_arguments(inputs, state, lengths, starts)
        if time_spans is not None:
            keywords[self.contract.arguments["time_spans"]] = time_spans
        if self.device != "cpu" and "lengths" in self.contract.arguments:
            return self._call_with_lengths(arguments, keywords, going_on, grad, seed, guard)
        return self._call(arguments, keywords, going_on, grad, seed, guard)

    def _call_with_lengths(self, arguments: Any, keywords: dict[str, Any], *how: Any) -> Any:
        """A call on an accelerator: lengths go in on the device or on the CPU, whichever the module takes."""
        name = self.contract.arguments["lengths"]
        if self._lengths_on is not None or name not in keywords:
            return self._call(arguments, self._with_lengths_on(self._lengths_on, keywords), *how)
        try:
            value = self._call(arguments, self._with_lengths_on(self.device, keywords), *how)
        except TargetRaisedError:
            value = self._call(arguments, keywords, *how)
            self._lengths_on = "cpu"
            return value
        self._lengths_on = self.device
        return value

    def _with_lengths_on(self, place: str | None, keywords: dict[str, Any]) -> dict[str, Any]:
        name = self.contract.arguments["lengths"]
        return {**keywords, name: keywords[name].to(place)} if place and name in keywords else keywords

    def _call(
        self,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        going_on: bool,
        grad: bool,
        seed: int,
        guard: Callable[[], Any] | None,
    ) -> Any:
        with kept_clean(seed):
            if self.device != "cpu":
                seed_device(self.device, seed)
            torch.set_grad_enabled(grad)
            context = guard() if guard is not None else None
            if context is not None:
                context.__enter__()
            before = GlobalState.now()
            try:
                with self.stopwatch.running(), _target(f"calling it in {self.dtype}{self._place}"):
                    if self.contract.reset and not going_on:
                        getattr(self.module, self.contract.reset)()
                    value = self._forward(*arguments, **keywords)
            finally:
                self.global_changes = before.changes(GlobalState.now())
                before.restore()
                if context is not None:
                    context.__exit__(None, None, None)
        return value

    @property
    def _place(self) -> str:
        return "" if self.device == "cpu" else f" on {self.device}"

    def call_arguments(
        self, inputs: Any, state: Tree, lengths: Any, starts: Tensor | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What forward is called with, by the convention."""
        if lengths is None and self.contract.convention == "lengths":
            rule = self.rules().input
            time, batch = rule.axis("T"), rule.axis("B")
            assert time is not None
            assert batch is not None
            lengths = [inputs.shape[time]] * inputs.shape[batch]
        if lengths is not None and not isinstance(lengths, Tensor):
            lengths = torch.tensor(list(lengths), dtype=torch.int64)
        tokens = self.contract.tokens(self.hyperparameters)
        if tokens is not None:
            inputs = token_ids(inputs, tokens)
        if lengths is None and "starts" not in self.contract.arguments:
            return call_arguments(self.contract, inputs, state)
        rule = self.rules().input
        if isinstance(inputs, Tensor) and inputs.dim() < len(rule):
            rule = rule.without("B")
        if starts is None and "starts" in self.contract.arguments and isinstance(inputs, Tensor):
            starts = no_starts(rule, inputs)
        return call_arguments(
            self.contract, inputs, state, lengths=lengths, starts=starts, rule=rule, dtype=DTYPES[self.dtype]
        )

    def _forward(self, *arguments: Any, **keywords: Any) -> Any:
        if self.adapter is None:
            return self.module(*arguments, **keywords)
        inputs, state = (*arguments, None)[:2]
        if state is None and not self.contract.capabilities.optional_state:
            state = self.adapter.initial_state(self.module, inputs.shape[self.rules().input.axis("B") or 0])
        return self.adapter.call(self.module, inputs, state)

    def first_state(self, rows: int) -> Any:
        """What the contract's `initial` method makes for `step`, in the subject's dtype; None where it needs none."""
        name = self.contract.step.get("initial", "")
        if not name:
            return None
        with self.doing(f"calling {name}({rows})") as module:
            state = getattr(module, name)(rows)
        dtype = DTYPES[self.dtype]
        return map_tree(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, state)

    def step(self, inputs: Tensor, state: Any) -> Result:
        """One call of the contract's `step` method, in eval mode and without gradients.

        Args:
            inputs: of the rule of the contract's step.
            state: as forward takes it where it takes one, else what the step before returned; None is left out.

        Raises:
            TargetRaisedError: it raised.
            UnusableResultError: it returned something else than the contract says.
        """
        how = self.contract.step
        tokens = self.contract.tokens(self.hyperparameters)
        given = inputs if tokens is None else token_ids(inputs, tokens)
        held = native(state, self.contract.state) if self.contract.state is not None else state
        parts = () if held is None else tuple(held) if how.get("result", "").endswith("*state") else (held,)
        with self.doing(f"calling {how['method']}") as module, torch.no_grad():
            value = getattr(module, how["method"])(given, *parts)
        output, following = split(replace(self.contract, result=how.get("result", "output, state")), value)
        return Result(canonical(output), canonical(following, self.contract.state) if self.contract.state is not None
                      else following)  # fmt: skip

    def differentiate(self, loss: Tensor, of: Sequence[Tensor], *, keep_graph: bool = False) -> list[Tensor | None]:
        """The gradient of a scalar of each tensor, None where the scalar does not depend on it.

        Raises:
            TargetRaisedError: what the module recorded can't be differentiated.
        """
        if not (of and loss.requires_grad):
            return [None] * len(of)
        with kept_clean(), self.stopwatch.running(), _target("differentiating its results"):
            found = torch.autograd.grad(loss, list(of), retain_graph=keep_graph, allow_unused=True)
        return [None if gradient is None else gradient.cpu() for gradient in found]

    def unpack(self, value: Any) -> Result:
        """The output and the state in what the module returned."""
        if self.adapter is None:
            output, state = split(self.contract, value)
        else:
            with _target("splitting what it returned"):
                output, state = self.adapter.split_state(value)
        return Result(canonical(output), canonical(state, self.contract.state))

    def parameters_of(self) -> dict[str, Tensor]:
        return dict(self.module.named_parameters())

    @contextmanager
    def doing(self, what: str) -> Iterator[nn.Module]:
        """Run something of the module's other than a call (saving, loading, copying, moving), as `what` says.

        Raises:
            TargetRaisedError: it raised.
        """
        with kept_clean(), self.stopwatch.running(), _target(what):
            yield self.module

    def with_module(self, module: nn.Module, dtype: str = "") -> Subject:
        """Another module that is called in the same way; `dtype` where it has another one."""
        return Subject(module, self.contract, self.hyperparameters, self.stopwatch, dtype or self.dtype, self.device)


def as_builder(target: Any) -> Callable[..., Any]:
    """How the target is built: a class or factory is called; an instance is copied."""
    if isinstance(target, nn.Module):
        original = target

        def build(**sizes: Any) -> nn.Module:
            return copy.deepcopy(original)

        return build
    if isinstance(target, Contract):
        if target.build is None:
            raise UnusableResultError("the contract has no build: give it the class or factory to call")
        return target.build
    if callable(target):
        return target  # type: ignore[no-any-return]
    raise UnusableResultError(f"it is {kind_of_value(target)}: neither a class, nor a factory, nor a torch.nn.Module")


def _in_dtype(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """`module.to(dtype)`, but complex parameters stay complex: of them that would keep the real part alone."""
    if not any(tensor.is_complex() for tensor in (*module.parameters(), *module.buffers())):
        return module.to(dtype)
    wide = torch.complex128 if dtype == torch.float64 else torch.complex64

    def moved(tensor: Tensor) -> Tensor:
        return tensor.to(wide if tensor.is_complex() else dtype if tensor.is_floating_point() else tensor.dtype)

    apply: Callable[[Any], nn.Module] = module._apply
    return apply(moved)


def adapter_of(contract: Contract) -> Adapter | None:
    """The contract's adapter, imported where it is given by name."""
    found = contract.adapter
    if found is None:
        return None
    return load_adapter(found) if isinstance(found, str) else as_adapter(found)


def _adapted(adapter: Adapter, target: Any) -> Callable[..., Any]:
    return lambda **keywords: adapter.build(target, **keywords)


def expected_shapes(rules: Any, sizes: Mapping[str, int]) -> Any:
    """A structure of rules as a structure of shapes."""
    if isinstance(rules, ShapeRule):
        return rules.shape(sizes)
    if isinstance(rules, Mapping):
        return {name: expected_shapes(rule, sizes) for name, rule in rules.items()}
    if rules is None:
        return None
    return type(rules)(expected_shapes(rule, sizes) for rule in rules)


def _moved(tree: Tree, device: str) -> Tree:
    """A tree, or a packed sequence, on a device; what is no tensor stays what it is."""
    if isinstance(tree, PackedSequence):
        return tree.to(device)  # type: ignore[arg-type]
    return map_tree(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, tree)


@contextmanager
def _target(doing: str) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:
        raise TargetRaisedError(error, doing) from error


def _arguments(keywords: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in keywords.items()) or "no arguments"
