"""RP807: the meta device, which knows shapes and no values."""

from __future__ import annotations

import re

from rnn_props.cases import Needs
from rnn_props.checks.registry import check
from rnn_props.checks.trial import Trial, Violation
from rnn_props.contracts import Contract
from rnn_props.subjects import TargetRaisedError, leaves, map_tree, map_with_rules


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
        if _mixes_devices(raised.error):
            raise Violation(f"on the meta device, {raised}", kind="raised", where=raised.where) from None
        t.discard(f"it needs values: on the meta device, {raised}")
    for name, leaf in leaves({"output": result.output, "state": result.state}):
        if leaf.device.type != "meta":
            what = name.strip("[']")
            t.fail(f"{what}: expected on meta, got on {leaf.device}", expected="meta", actual=str(leaf.device))
    if t.rules.output is not None:
        t.shaped(result.output, t.rules.output, "output on the meta device")
    map_with_rules(lambda leaf, rule: t.shaped(leaf, rule, "state on the meta device"), result.state, t.rules.state)


def _mixes_devices(error: BaseException) -> bool:
    """Whether an exception says that tensors of two devices met.

    Others say that a value was asked for, or that an operation has no meta kernel; neither is wrong. A matrix product
    takes a matrix of the CPU without a word (torch 2.13), and writing into a tensor of the CPU looks like asking for
    values: what is mixed there and shows nowhere else is RP801's to find.
    """
    if isinstance(error, NotImplementedError):
        return False
    named = re.findall(r"(?<![.\w])(cpu|meta)\b", str(error))  # a device, not the method `.cpu()`
    return {"cpu", "meta"} <= set(named) and "device" in str(error)
