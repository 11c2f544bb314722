"""What a module is by design, seen in the simplest configuration, and so not held against it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnn_props.contracts import Contract, ShapeRule
from rnn_props.subjects import Result, Subject, TargetRaisedError, UnusableResultError, leaves, map_tree, state_leaves


def with_nature(contract: Contract, subject: Subject, inputs: Tensor, zeros: Any) -> Contract:
    """The contract with what one configuration shows of its nature: spiking, in log space, detached, another default.

    Args:
        contract: settled so far.
        subject: in float32.
        inputs: of its call.
        zeros: a state of zeros, or None where there is none.
    """
    contract = _spiking(contract, subject, inputs, zeros)
    if contract.state is None:
        return contract
    contract = _positive(contract, subject, inputs, zeros)
    contract = _default(contract, subject, inputs, zeros)
    contract = _detached(contract, subject, inputs, zeros)
    return _output_is_state(contract, subject, inputs, zeros)


def _call(subject: Subject, inputs: Tensor, state: Any = None, **options: Any) -> Result | None:
    try:
        return subject.call(inputs, state, **options)
    except (TargetRaisedError, UnusableResultError):
        return None


def quantised(contract: Contract, subject: Subject) -> Contract:
    """The contract of a module with dynamically quantised layers inside: they have one scale for a whole tensor."""
    inside = [type(part) for part in subject.module.modules()]
    names = [cls.__name__ for cls in inside if cls.__module__.startswith("torch.ao.nn.quantized.dynamic")]
    if not names:
        return contract
    # It has kernels of its own: torch.nn's contract is promised as far as a call shows it.
    able = replace(
        contract.capabilities,
        per_tensor_quantised=True,
        differentiable=False,
        torch_contract=False,
        torch_weights=False,
    )
    return replace(contract, capabilities=able).with_evidence(
        f"a dynamically quantised {names[0]} is inside: one scale for a whole tensor, over batch and time"
    )


def _spiking(contract: Contract, subject: Subject, inputs: Tensor, zeros: Any) -> Contract:
    """Whether its results are zeros and ones with a gradient: spikes, and their gradient a surrogate."""
    for scale in (1.0, 30.0):
        result = _call(subject, inputs * scale, None if contract.capabilities.optional_state else zeros, grad=True)
        for _, leaf in () if result is None else leaves([result.output, result.state]):
            spikes = leaf.is_floating_point() and bool(((leaf == 0) | (leaf == 1)).all())
            if spikes and bool((leaf == 1).any()) and bool((leaf == 0).any()):
                able = replace(contract.capabilities, surrogate_gradients=True)
                return replace(contract, capabilities=able).with_evidence(
                    "it gives zeros and ones (spikes): its gradient is a surrogate, and not the derivative"
                )
    return contract


def _positive(contract: Contract, subject: Subject, inputs: Tensor, zeros: Any) -> Contract:
    """Whether negative numbers in the state give NaN, and positive ones do not."""
    generator = torch.Generator().manual_seed(0)
    state = map_tree(lambda leaf: torch.randn(leaf.shape, generator=generator), zeros)
    one, two = _call(subject, inputs, state), _call(subject, inputs, map_tree(torch.abs, state))
    if one is None or two is None or not _has_nan(one) or _has_nan(two):
        return contract
    able = replace(contract.capabilities, positive_state=True)
    return replace(contract, capabilities=able).with_evidence(
        "negative numbers in its state give NaN, positive ones do not: it is kept in log space"
    )


def _has_nan(result: Result) -> bool:
    return any(bool(leaf.isnan().any()) for _, leaf in leaves([result.output, result.state]))


def _default(contract: Contract, subject: Subject, inputs: Tensor, zeros: Any) -> Contract:
    """Whether leaving the state out is another thing than zeros: after a sequence, or after one step, small or large,
    when nothing is forgotten yet."""
    if not contract.capabilities.optional_state:
        return contract
    axis = subject.rules().input.axis("T")
    step = inputs if axis is None else inputs.narrow(axis, 0, 1)
    tried = [inputs, step, 10 * step] if step.is_floating_point() else [inputs, step]
    if not any(_differ(_call(subject, given), _call(subject, given, zeros)) for given in tried):
        return contract
    able = replace(contract.capabilities, nonzero_default_state=True)
    return replace(contract, capabilities=able).with_evidence(
        "leaving out the state gives other results than zeros: its default is another state"
    )


def _differ(one: Result | None, two: Result | None) -> bool:
    """Whether two calls that both gave results gave different ones."""
    if one is None or two is None:
        return False
    pairs = zip(leaves([one.output, one.state]), leaves([two.output, two.state]), strict=False)
    return not all(_same(first, second) for (_, first), (_, second) in pairs)


def _same(one: Tensor, two: Tensor) -> bool:
    return one.shape == two.shape and torch.allclose(one, two, atol=1e-6, equal_nan=True)


def _detached(contract: Contract, subject: Subject, inputs: Tensor, zeros: Any) -> Contract:
    """Whether no gradient at all flows into a state that is given, or out of one that is returned."""
    given = map_tree(lambda leaf: torch.rand_like(leaf).requires_grad_(True), zeros)
    result, other = _call(subject, inputs, given, grad=True), _call(subject, inputs, zeros)
    if result is None or not _differ(result, other):
        return contract  # it has no effect at all, which is another matter
    output = result.state if result.output is None else result.output
    found = [leaf for _, leaf in leaves(output) if leaf.requires_grad]
    if not found:
        return contract
    gradients = torch.autograd.grad(
        sum((leaf.sum() for leaf in found), torch.zeros(())), [leaf for _, leaf in leaves(given)], allow_unused=True
    )
    cut_in = all(gradient is None for gradient in gradients)
    cut_out = result.output is not None and not any(leaf.requires_grad for _, leaf in leaves(result.state))
    if not (cut_in or cut_out):
        return contract
    able = replace(contract.capabilities, detached_cache=True)
    where = "given" if cut_in else "returned"
    return replace(contract, capabilities=able).with_evidence(
        f"the state that is {where} is cut off from the graph: it is a cache"
    )


def with_own_output(contract: Contract, subject: Subject, inputs: Tensor, zeros: Any) -> Contract:
    """The contract of a module with a part of torch.nn's signature, whose output need not be its state.

    It may normalise the output, or add the input to it: one layer in one direction shows that. How rows are ordered it
    does not show, so that stays what torch.nn has.
    """
    result = _call(subject, inputs, None if contract.capabilities.optional_state else zeros)
    rule = subject.rules().output
    axis = None if rule is None else rule.axis("T")
    if result is None or axis is None or not contract.capabilities.output_is_state:
        return contract
    last, hidden = result.output.select(axis, result.output.shape[axis] - 1), state_leaves(result.state)[0][1]
    if last.numel() == hidden.numel() and torch.allclose(last, hidden.reshape(last.shape), atol=1e-5):
        return contract
    able = replace(contract.capabilities, output_is_state=False)
    return replace(contract, capabilities=able).with_evidence("the output's last step is not the state's first part")


def _output_is_state(contract: Contract, subject: Subject, inputs: Tensor, zeros: Any) -> Contract:
    """Whether the output's last step is the first leaf of the state, and that leaf's rows are layers and directions."""
    rules = subject.rules()
    first = rules.state[0] if isinstance(rules.state, tuple) and rules.state else rules.state
    if not isinstance(first, ShapeRule) or str(first) not in ("B H", "L B H", "L*D B H", "1 B H"):
        return contract
    if contract.capabilities.surrogate_gradients or ("bidirectional" in contract.roles and "D" not in first.names):
        return contract
    result = _call(subject, inputs, None if contract.capabilities.optional_state else zeros)
    axis = None if rules.output is None else rules.output.axis("T")
    if result is None or axis is None or str(rules.output).split()[-1] not in ("H", "D*H"):
        return contract
    hidden = state_leaves(result.state)[0][1]
    last = result.output.select(axis, result.output.shape[axis] - 1)
    if not torch.equal(last, hidden.reshape(-1, *hidden.shape[-2:])[-1]):
        return contract
    able = replace(contract.capabilities, output_is_state=True)
    return replace(contract, capabilities=able).with_evidence("the output's last step is the first part of the state")
