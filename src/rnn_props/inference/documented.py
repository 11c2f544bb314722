"""What annotations and docstrings say of the input's layout: the word of the author, where calls can't tell."""

from __future__ import annotations

import inspect
import re
from typing import Any

from torch import nn

from rnn_props.inference.signature import Signatures, unwrapped

_BATCH = r"batch(?:_?size)?|bsz|bs|b|n|num_batch(?:es)?"
_TIME = (
    r"time(?:_?steps?)?|seq(?:uence)?(?:_?len(?:gth)?)?|length|len|steps?|tokens|t|l|s|num_steps|max_len(?:gth)?|src_len|"
    r"window|frames"
)
_WORD = r"[a-z_]+(?:\s*[=:]\s*[\w.]+)?"
#: A list of axes: in a jaxtyping annotation, "batch time features"; in text, (batch, time, features).
_ANNOTATED = re.compile(r"""\[[^\[\]]*?["']([^"'\[\]]+)["']\s*\]""")
_WRITTEN = re.compile(rf"[(\[]\s*({_WORD}(?:\s*,\s*[\w *.+-]+)+?)\s*[)\]]", re.I)


def said_layout(target: Any, signatures: Signatures) -> tuple[str, str]:
    """The order of batch and time that the author states for the input, `"B T"` or `"T B"`, and where; or two "".

    The annotation of forward's first parameter comes first (jaxtyping's `Float[Tensor, "batch time features"]`), then
    the docstrings of forward and of the class: the first list of axes that has both.
    """
    if signatures.forward:
        for found in _ANNOTATED.findall(signatures.forward[0].annotation):
            order = _order(found.split())
            if order:
                return order, f"the annotation '{found}'"
    cls = type(unwrapped(target)) if isinstance(target, nn.Module) else target
    for part, where in ((getattr(cls, "forward", None), "forward's docstring"), (cls, "the class's docstring")):
        text = (inspect.getdoc(part) or "") if part is not None and _has_own_doc(part) else ""
        for found in _WRITTEN.findall(text):
            order = _order([axis.strip() for axis in found.split(",")])
            if order:
                return order, f"({found}) in {where}"
    return "", ""


def _has_own_doc(part: Any) -> bool:
    """Whether the text is the author's, and not that of a class of torch's above it."""
    return bool(getattr(part, "__doc__", None))


def _order(axes: list[str]) -> str:
    places = {}
    for place, axis in enumerate(axes):
        word = axis.lower().strip("_* ")
        for letter, words in (("B", _BATCH), ("T", _TIME)):
            if letter not in places and re.fullmatch(words, word):
                places[letter] = place
    if len(places) < 2 or len(axes) < 2:
        return ""
    return "B T" if places["B"] < places["T"] else "T B"
