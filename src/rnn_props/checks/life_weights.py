"""RP905 and RP909 to RP911: what a module's weights are, and that a call leaves them alone."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.life import fresh, ready, repeatable, stir, write
from rnn_props.checks.registry import check
from rnn_props.checks.trial import Advice, Trial
from rnn_props.numerics import difference
from rnn_props.subjects import (
    Result,
    Subject,
    TargetRaisedError,
    filled_memory,
    hidden_tensors,
    leaves,
    registered_tensors,
    statistics_of,
)


@check(
    "RP905",
    "life.registered",
    when=repeatable,
    needs=Needs(lengths=(1, 2, 3, 5), batches=(1, 2, 3), fills=("normal", "integers")),
    share=0.5,
    hint="Write nn.ModuleList and nn.ParameterList in place of Python lists, nn.Parameter in place of a tensor with "
    "requires_grad, and register_buffer for everything else that is not recomputed at each call.",
)
def registered(t: Trial) -> None:
    """Every tensor that results depend on is a parameter or a buffer.

    Why: What is not registered is missing from `parameters()`, so it is not trained, from `state_dict()`, so it is not
    saved, and from `.to(device)`, so it stays behind. Nothing raises until somebody looks at the loss.
    Causes:
    - Layers or cells in a Python list or dict: `self.cells = [nn.LSTMCell(...) for ...]`.
    - `self.h0 = torch.randn(..., requires_grad=True)`, or weights made with `torch.randn` and kept as plain tensors.
    - A layer that is reached through a closure, a partial function or an object that is no module.
    - A list that is an attribute of the class, and so shared by all instances.
    Fix: Keep layers in `nn.ModuleList` or `nn.ModuleDict`, trained tensors as `nn.Parameter`, fixed ones with
    `register_buffer` (`persistent=False` for constants that the constructor makes again).
    """
    hidden = hidden_tensors(t.subject.module)
    if not hidden:
        return
    before = t.call().kept()
    used = _that_matter(t, hidden, before)
    if not used:
        return
    # Several seeds, since a random order of two things is often the same one.
    elsewhere = [hidden_tensors(fresh(t, step).module) for step in range(1, 6)]
    with t.subject.doing("taking its state_dict") as module:
        saved = [leaf for _, leaf in leaves(module.state_dict())]
    constants = []
    for path in used:
        tensor = hidden[path]
        if any(_equal(tensor, leaf) for leaf in saved):
            continue
        if tensor.requires_grad or not all(_equal(tensor, other.get(path)) for other in elsewhere):
            what = "is trained by no optimiser and saved in no state_dict" if tensor.requires_grad else "is not saved"
            t.fail(
                f"results depend on {path}, a tensor of shape {tuple(tensor.shape)} that is neither a parameter nor a "
                f"buffer: it {what}",
                expected="a parameter or a buffer",
                actual="another attribute",
            )
        if tensor.dim() > 0:  # a number on the CPU serves on every device
            constants.append(path)
    for path in constants:
        if not _follows(t, path):
            raise Advice(
                f"results depend on the constant {path}, which is neither a parameter nor a buffer: .to(device) leaves "
                "it behind",
                expected="a buffer",
                actual="another attribute",
            )


def _that_matter(t: Trial, tensors: Mapping[str, Tensor], before: Result) -> list[str]:
    """The names of those that results change with: all are tried at once, and halves only if something changes."""
    if not _matter(t, list(tensors.values()), before):
        return []
    names = list(tensors)
    if len(names) == 1:
        return names
    halves = names[: len(names) // 2], names[len(names) // 2 :]
    return [name for half in halves for name in _that_matter(t, {name: tensors[name] for name in half}, before)]


def _matter(t: Trial, tensors: Sequence[Tensor], before: Result) -> bool:
    """Whether results change with any of some tensors, which are put back afterwards."""
    memories = [torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage()) for tensor in tensors]
    values = [memory.clone() for memory in memories]
    try:
        for number, (memory, value) in enumerate(zip(memories, values, strict=True)):
            if memory.is_floating_point() or memory.is_complex():
                stir({"": memory}, 21 + number)
            else:
                memory.copy_(value.flip(0))  # indices stay in range
        after = t.call()
    except TargetRaisedError:
        return len(tensors) > 1  # one of them may still matter by itself
    finally:
        for memory, value in zip(memories, values, strict=True):
            memory.copy_(value)
    return t.changed([after.output, after.state], [before.output, before.state])


def _equal(tensor: Tensor, other: Tensor | None) -> bool:
    if other is None or other.shape != tensor.shape or other.dtype != tensor.dtype:
        return False
    return torch.equal(other.detach(), tensor.detach())


def _follows(t: Trial, path: str) -> bool:
    """Whether the module moves a tensor along although it has not registered it, by an `_apply` of its own."""
    with t.build().doing("moving it to another device") as module:
        moved = hidden_tensors(module.to("meta"))
    return path not in moved


@check(
    "RP909",
    "life.initialised",
    needs=Needs(lengths=(1, 2, 3), batches=(1, 2), fills=("normal",)),
    after=("RP101", "RP102"),
    share=0.4,
    hint="torch.empty, torch.Tensor(n) and new_empty give whatever was in memory before. Compare the parameters that "
    "reset_parameters fills with those that the constructor makes.",
)
def initialised(t: Trial) -> None:
    """Every parameter is initialised by the constructor, and no result comes from memory that nobody wrote to.

    Why: Uninitialised memory is often zero, and sometimes NaN or 1e30: a training run fails one time in many, and
    cannot be repeated under its seed.
    Causes:
    - `nn.Parameter(torch.empty(n))` or `torch.Tensor(n)` that `reset_parameters` leaves out: a bias, the second
      direction, layers above the first, peephole and projection weights.
    - An initialisation by name or rank (`if "weight" in name`, `if p.dim() > 1`) that matches less than was thought.
    - `torch.empty(...)` for outputs or states, of which some rows or steps are never filled.
    Fix: Give every `torch.empty` a fill in `reset_parameters`, or write `torch.zeros` and `torch.randn` at once.
    """
    plain = fresh(t)
    with filled_memory():
        filled = fresh(t)
    parameters = dict(plain.module.named_parameters())
    others = registered_tensors(filled.module)
    raw = [name for name, tensor in registered_tensors(plain.module).items() if _raw(others.get(name), tensor)]
    for name in raw:
        if name in parameters:
            t.fail(f"parameter {name} is not initialised", expected="numbers", actual="what was in memory")
    expected = t.call(subject=plain)
    with filled_memory():
        result = t.call(subject=filled)
    pairs = zip(leaves(result.output, "output"), leaves(expected.output), strict=True)
    states = zip(leaves(result.state, "state"), leaves(expected.state), strict=True)
    for (name, leaf), (_, wanted) in (*pairs, *states):
        if leaf.shape == wanted.shape and bool((leaf.isnan() & ~wanted.isnan()).any()):
            origin = f" (buffer {raw[0]} is not initialised)" if raw else ""
            t.fail(f"{name} has numbers from memory that nobody wrote to{origin}", expected="numbers", actual="NaN")


def _raw(filled: Tensor | None, plain: Tensor) -> bool:
    """Whether a tensor shows what memory was filled with, and would have shown something else."""
    if filled is None or filled.shape != plain.shape:
        return False
    if plain.is_floating_point() or plain.is_complex():
        return bool((filled.isnan() & ~plain.isnan()).any())
    if plain.dtype == torch.bool:
        return False
    return bool(((filled == torch.iinfo(plain.dtype).max) & (filled != plain)).any())


#: Pairs of names that are tried in one case; other cases begin with others.
_MOST_PAIRS = 3


@check(
    "RP910",
    "life.distinct",
    when=when.lacks("tied_weights", "some of its weights are tied by contract"),
    needs=Needs(lengths=(2, 3), batches=(1, 2, 3), states=("none", "random"), fills=("normal",), picks=1),
    after=("RP101", "RP102"),
    share=0.5,
    hint="[layer] * n repeats one layer n times, and bw = fw names it twice: build one for each place. If weights are "
    "tied on purpose, the contract says so: Capabilities(tied_weights=True).",
)
def distinct(t: Trial) -> None:
    """No parameter is another one under a second name that forward uses, too, unless the contract says that weights are
    tied.

    Why: A network in which two places share their weights has half of the parameters that its author counts on, and
    learns less; nothing raises, and the shapes are right.
    Causes:
    - `nn.ModuleList([cell] * num_layers)`: one cell in all places.
    - `self.backward_cell = self.forward_cell`, or one cell passed to both directions.
    - `nn.Parameter(w)` twice of one tensor: the two share their memory until the module is moved.
    - `copy.copy(layer)`, which copies the layer's outside and shares its parameters.
    Fix: `nn.ModuleList(Cell(...) for _ in range(num_layers))`: a constructor call for each place. What an embedding and
    a layer of scores share, as language models do, is no finding.
    """
    case = t.case
    module = t.factory.module(case.hyperparameters, case.parameter_seed)
    shared = list(_shared(module))
    start = t.pick(0, len(shared)) if shared else 0
    for first, second in (shared[start:] + shared[:start])[:_MOST_PAIRS]:
        # Two names of one layer are harmless where forward goes by one of them.
        parted = ready(t, t.factory.subject(case.hyperparameters, case.parameter_seed, dtype=case.dtype))
        with parted.doing(f"giving {second} weights of its own"):
            _part(parted.module, first, second)
        if all(_named_matters(t, parted, name) for name in (first, second)):
            t.fail(
                f"parameter {second} is {first} under a second name, and both are used",
                expected="parameters of their own",
                actual="shared ones",
            )


def _shared(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Pairs of names of parameters that share memory, each second name once.

    What an embedding shares with anything else is tied on purpose: no slip gives a layer another kind's weights.
    """
    seen: list[tuple[str, set[int]]] = []
    for name, tensor in module.named_parameters(remove_duplicate=False):
        if nn.parameter.is_lazy(tensor) or tensor.layout != torch.strided or tensor.device.type == "meta":
            continue
        own = _addresses(tensor)
        twin = next((other for other, places in seen if places & own), None)
        if twin is not None:
            if _in_embedding(module, twin) == _in_embedding(module, name):
                yield twin, name
        else:
            seen.append((name, own))


def _in_embedding(module: nn.Module, parameter: str) -> bool:
    return isinstance(module.get_submodule(parameter.rpartition(".")[0]), nn.Embedding)


def _addresses(tensor: Tensor) -> set[int]:
    """Where in memory the elements of a tensor stand."""
    storage = tensor.untyped_storage()
    numbers = torch.arange(storage.nbytes() // tensor.element_size())
    places = numbers.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
    return {storage.data_ptr() + place * tensor.element_size() for place in places.flatten().tolist()}


def _part(module: nn.Module, first: str, second: str) -> None:
    """Put a copy in the place of the second name: of the outermost layer that both names go through, or of the
    parameter."""
    names, others = second.split("."), first.split(".")
    passed = {id(module.get_submodule(".".join(others[:depth]))) for depth in range(1, len(others))}
    parent = module
    for depth, name in enumerate(names[:-1], 1):
        child = parent.get_submodule(name)
        if id(child) in passed and names[:depth] != others[:depth]:
            setattr(parent, name, copy.deepcopy(child))
            return
        parent = child
    value = parent.get_parameter(names[-1])
    setattr(parent, names[-1], nn.Parameter(value.detach().clone(), requires_grad=value.requires_grad))


def _named_matters(t: Trial, subject: Subject, name: str) -> bool:
    before = t.call(subject=subject).kept()
    tensor = subject.module.get_parameter(name)
    values = tensor.detach().clone()
    stir({name: tensor}, 22)
    after = t.call(subject=subject)
    with torch.no_grad():
        tensor.copy_(values)
    return t.changed([after.output, after.state], [before.output, before.state])


@check(
    "RP911",
    "life.forward_keeps_weights",
    when=repeatable,
    needs=Needs(lengths=(1, 2, 3, 5), batches=(1, 2, 3, 4)),
    share=0.5,
    explained_by=("RP206",),
    hint="forward writes to a parameter (.data, copy_, clamp_, nn.Parameter(...)) or to a buffer. Work on a local "
    "copy; statistics belong in buffers that are updated in training mode alone.",
)
def forward_keeps_weights(t: Trial) -> None:
    """A call changes no parameter, in eval mode no buffer that is saved, and in training mode none that the next
    training call depends on, but for batch statistics; a module that was put into training mode and back gives the
    results that it gave before.

    Why: Weights are the optimiser's to change. A call that writes to them undoes a part of the training at each step,
    and makes evaluation and checkpoints depend on how often the module was called.
    Causes:
    - Weight dropout on the parameter itself: `self.weight_hh.data = F.dropout(self.weight_hh.data, p)`, which drops for
      good.
    - Weights clipped or normalised in `forward`: `self.weight.data.clamp_(-1, 1)`.
    - `self.weight = nn.Parameter(...)` in `forward`: the optimiser goes on with the old one.
    - The last state kept in a buffer: the next batch starts from it.
    - A `train` or `eval` of its own that fuses weights on the way in and does not part them on the way out.
    Fix: Compute the changed weights into a local variable and use that. Batch statistics that are meant are declared in
    the contract: `Capabilities(batch_statistics=True)`.
    """
    before = t.call().kept()
    objects = dict(t.subject.module.named_parameters())
    values = {name: tensor.detach().clone() for name, tensor in registered_tensors(t.subject.module).items()}
    t.call(grad=True)
    _parameters_kept(t, objects, values, "eval")
    if not t.contract.capabilities.stateful:
        with t.subject.doing("taking its state_dict") as module:
            saved = set(module.state_dict())
        for name in _changed_buffers(t, values):
            if name in saved:
                t.fail(
                    f"a call in eval mode changed the buffer {name}", expected="the same values", actual="other values"
                )
    _training_keeps_weights(t, objects, values)
    write(t.subject.module, values)
    t.same_result(t.call(), before, "in eval mode again after a call in training mode")


def _training_keeps_weights(t: Trial, objects: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    with t.subject.doing("switching it to training mode") as module:
        module.train()
    try:
        first = t.call(grad=True).kept()
        _parameters_kept(t, objects, values, "training")
        changed = _changed_buffers(t, values)
        if changed and not t.contract.capabilities.batch_statistics:
            write(t.subject.module, {name: value for name, value in values.items() if name not in changed})
            # The same bits are wanted: what rounding explains can't be measured while a buffer moves.
            again = t.call(grad=True)
            for what, now, was in (("output", again.output, first.output), ("state", again.state, first.state)):
                gap = difference(now, was, what)
                if gap is not None:
                    t.fail(
                        f"a call in training mode changed the buffer {changed[0]}, and the same call again gave other "
                        f"results: {gap.message}",
                        expected=gap.expected,
                        actual=gap.actual,
                    )
    except TargetRaisedError:
        if t.sizes["B"] > 1:
            raise
        # A single row is refused in training mode by design where statistics are taken over the batch.
    finally:
        with t.subject.doing("switching it to eval mode") as module:
            module.eval()


def _parameters_kept(t: Trial, objects: Mapping[str, Tensor], values: Mapping[str, Tensor], mode: str) -> None:
    now = dict(t.subject.module.named_parameters())
    for name, was in objects.items():
        if name not in now or now[name] is not was:
            what = "another object in the place of" if name in now else "no longer"
            t.fail(f"after a call in {mode} mode there is {what} the parameter {name}, which an optimiser holds on to")
        if was.requires_grad and name in values:
            gap = difference(now[name], values[name], f"parameter {name}")
            if gap is not None:
                t.fail(f"a call in {mode} mode changed {gap.message}", expected=gap.expected, actual=gap.actual)


def _changed_buffers(t: Trial, values: Mapping[str, Tensor]) -> list[str]:
    """Buffers with other values than before, those aside that torch's own layers keep (batch normalisation)."""
    kept = statistics_of(t.subject.module)
    return [
        name
        for name, tensor in registered_tensors(t.subject.module).items()
        if name in values and name not in kept and difference(tensor, values[name], name) is not None
    ]
