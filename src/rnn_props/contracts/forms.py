"""How lengths, and where episodes begin, go into a call where that is not the usual way: masks and flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: By what goes in: the kinds of forms, and what each says.
KINDS: Mapping[str, Mapping[str, str]] = {
    "lengths": {
        "mask": "a mask that is true at a row's steps",
        "padding mask": "a mask that is true beyond a row's end",
    },
    "starts": {
        "start": "true at its first step",
        "continue": "false at its first step, and true elsewhere",
        "end": "true at the last step before it",
    },
}
_FLOAT, _COLUMN = " float", " column"


@dataclass(frozen=True, slots=True)
class Form:
    """A form of lengths or of the starts of episodes; as text its kind, then ` float`, then ` column`.

    Attributes:
        kind: of `KINDS`.
        numbers: whether ones and zeros stand for true and false.
        column: whether there is a last axis of size 1.
    """

    kind: str
    numbers: bool = False
    column: bool = False

    @classmethod
    def parse(cls, what: str, text: str) -> Form:
        """Read the form of `lengths` or `starts`.

        Raises:
            ValueError: there is no such form, or nothing of that name has one.
        """
        without = text.removesuffix(_COLUMN)
        kind = without.removesuffix(_FLOAT)
        if kind not in KINDS.get(what, ()):
            known = "; ".join(f"{name}: {', '.join(kinds)}" for name, kinds in KINDS.items())
            raise ValueError(
                f"forms has no {what!r} in the form {text!r}; there are {known}; each may be followed by 'float' "
                "(numbers in place of bools) and 'column' (a last axis of size 1)"
            )
        return cls(kind, without != kind, text != without)

    def __str__(self) -> str:
        return f"{self.kind}{_FLOAT * self.numbers}{_COLUMN * self.column}"

    def words(self, what: str) -> str:
        """The form for people."""
        more = (", in numbers" if self.numbers else "") + (", with a last axis of size 1" if self.column else "")
        return f"{KINDS[what][self.kind]}{more}"
