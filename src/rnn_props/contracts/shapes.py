"""Shape rules: strings such as ``"L*D B P"``, read by one small parser, evaluated against sizes, and compared.

A rule lists its dimensions, separated by spaces. A dimension is an integer, a name, or a sum, difference or product of
those, written without spaces: ``"T B D*P"``, ``"B 2*H+1"``, ``"B (L+1)*H"``. The empty rule is a scalar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

#: What the letters stand for, in the words of torch's documentation.
MEANINGS: Mapping[str, str] = {
    "T": "seq_len",
    "B": "batch",
    "I": "input_size",
    "H": "hidden_size",
    "L": "num_layers",
    "D": "num_directions",
    "P": "proj_size or hidden_size",
    "O": "output_size",
}

_TOKEN = re.compile(r"(?P<integer>\d+)|(?P<name>[A-Za-z_]\w*)|(?P<sign>[-+*()])")


class ShapeRuleError(ValueError):
    """A shape rule that cannot be read, or that uses a name nothing gives a size to."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension: a sum of products, each product a coefficient and the names that it multiplies."""

    text: str
    terms: tuple[tuple[int, tuple[str, ...]], ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for _, names in self.terms for name in names)

    @property
    def meaning(self) -> str:
        """The dimension in words: ``L*D`` is ``num_layers*num_directions``."""
        return re.sub(r"[A-Za-z_]\w*", lambda match: MEANINGS.get(match[0], match[0]), self.text)

    def size(self, sizes: Mapping[str, int]) -> int:
        total = 0
        for coefficient, names in self.terms:
            product = coefficient
            for name in names:
                if name not in sizes:
                    known = ", ".join(sorted(sizes))
                    raise ShapeRuleError(f"shape rule uses {name!r}, which has no size here; known are: {known}")
                product *= sizes[name]
            total += product
        return total


@dataclass(frozen=True, slots=True)
class ShapeRule:
    """The shape that a tensor must have, as a rule over named sizes."""

    dimensions: tuple[Dimension, ...]

    @staticmethod
    def parse(text: str) -> ShapeRule:
        """Read a rule such as ``"L*D B P"``.

        Raises:
            ShapeRuleError: the text is no rule; the message shows where.
        """
        return _parse_rule(text)

    def __str__(self) -> str:
        return " ".join(dimension.text for dimension in self.dimensions)

    def __len__(self) -> int:
        return len(self.dimensions)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for dimension in self.dimensions for name in dimension.names)

    def axis(self, letter: str) -> int | None:
        """The axis that is exactly this letter, or None."""
        for index, dimension in enumerate(self.dimensions):
            if dimension.text == letter:
                return index
        return None

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The concrete shape for these sizes."""
        return tuple(dimension.size(sizes) for dimension in self.dimensions)

    def without(self, letter: str) -> ShapeRule:
        """The rule with the axis of that letter left out (unbatched tensors)."""
        return ShapeRule(tuple(dimension for dimension in self.dimensions if dimension.text != letter))

    def swapped(self, first: str, second: str) -> ShapeRule:
        """The rule with two axes exchanged (batch_first)."""
        one, two = self.axis(first), self.axis(second)
        if one is None or two is None:
            return self
        dimensions = list(self.dimensions)
        dimensions[one], dimensions[two] = dimensions[two], dimensions[one]
        return ShapeRule(tuple(dimensions))

    def mismatch(self, actual: Sequence[int], sizes: Mapping[str, int], what: str) -> str | None:
        """Say what is wrong with a shape, or None where it is right.

        The message has the rule, the expected and the actual shape, and names the first dimension that is wrong:
        ``h_n: expected (L*D, B, H) = (4, 3, 5), got (1, 3, 5): dimension 0 is num_layers*num_directions``.
        """
        expected = self.shape(sizes)
        got = tuple(actual)
        if got == expected:
            return None
        rule = _tuple_text([dimension.text for dimension in self.dimensions])
        message = f"{what}: expected {rule} = {_tuple_text(expected)}, got {_tuple_text(got)}"
        if len(got) != len(expected):
            return f"{message}: it has {len(got)} dimensions, not {len(expected)}"
        wrong = next(index for index, (one, two) in enumerate(zip(expected, got, strict=True)) if one != two)
        return f"{message}: dimension {wrong} is {self.dimensions[wrong].meaning}"


def _tuple_text(items: Sequence[object]) -> str:
    inside = ", ".join(str(item) for item in items)
    return f"({inside},)" if len(items) == 1 else f"({inside})"


@lru_cache(maxsize=1024)
def _parse_rule(text: str) -> ShapeRule:
    return ShapeRule(tuple(_Parser(part, text).dimension() for part in text.split()))


class _Parser:
    """Recursive descent over one dimension; values are sums of products, multiplied out."""

    def __init__(self, text: str, rule: str) -> None:
        self._text = text
        self._rule = rule
        self._tokens: Iterator[str] = iter(self._tokenise())
        self._next: str | None = next(self._tokens, None)

    def dimension(self) -> Dimension:
        terms = self._sum()
        if self._next is not None:
            self._fail(f"unexpected {self._next!r}")
        return Dimension(self._text, tuple((value, names) for names, value in terms.items()))

    def _tokenise(self) -> list[str]:
        tokens, position = [], 0
        while position < len(self._text):
            match = _TOKEN.match(self._text, position)
            if match is None:
                self._fail(f"unexpected {self._text[position]!r}")
            tokens.append(match[0])
            position = match.end()
        return tokens

    def _advance(self) -> str:
        token = self._next
        if token is None:
            self._fail("it ends too early")
        self._next = next(self._tokens, None)
        return token

    def _sum(self) -> dict[tuple[str, ...], int]:
        total = dict(self._product())
        while self._next in ("+", "-"):
            sign = 1 if self._advance() == "+" else -1
            for names, value in self._product().items():
                total[names] = total.get(names, 0) + sign * value
        return total

    def _product(self) -> dict[tuple[str, ...], int]:
        total = self._factor()
        while self._next == "*":
            self._advance()
            other = self._factor()
            product: dict[tuple[str, ...], int] = {}
            for names, value in total.items():
                for more, factor in other.items():
                    key = tuple(sorted(names + more))
                    product[key] = product.get(key, 0) + value * factor
            total = product
        return total

    def _factor(self) -> dict[tuple[str, ...], int]:
        token = self._advance()
        if token.isdigit():
            return {(): int(token)}
        if token == "(":
            inner = self._sum()
            if self._next != ")":
                self._fail("a bracket is not closed")
            self._advance()
            return inner
        if token in "+-*)":
            self._fail(f"unexpected {token!r}")
        return {(token,): 1}

    def _fail(self, why: str) -> NoReturn:
        raise ShapeRuleError(
            f"cannot read dimension {self._text!r} of shape rule {self._rule!r}: {why}; "
            "write dimensions separated by spaces, such as 'L*D B H'"
        )
