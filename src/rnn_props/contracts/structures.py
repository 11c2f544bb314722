"""States as pytrees of shape rules: how they are written, filled in for a configuration, and kept as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rnn_props.contracts.shapes import ShapeRule

#: A pytree of shape rules as written by people: a rule, a tuple, list or dict of them, one of the nodes below, or None.
Structure = Any
#: The same for one configuration: rules parsed, in tuples, lists and dicts alone.
Rules = Any

#: Where the number of the layer goes, in rules inside `Layers`.
_NUMBER = "{k}"


@dataclass(frozen=True, slots=True)
class Layers:
    """A list with one item for each layer: `Layers(("B H", "B H"))`.

    Attributes:
        item: the structure of one layer's part; `{k}` in its rules is the layer's number, as in `"B hidden_sizes_{k}"`.
        count: how many there are, as a dimension of a shape rule.
        kind: `list` or `tuple`.
        first: the structure of the first layer's part, where it is another: `Layers("B H", first="B I")` keeps each
            layer's input.
    """

    item: Structure
    count: str = "L"
    kind: str = "list"
    first: Structure = None

    def part(self, number: int) -> Structure:
        """The structure of one layer's part, `{k}` left in."""
        return self.first if number == 0 and self.first is not None else self.item


@dataclass(frozen=True, slots=True)
class Record:
    """A named tuple or dataclass. Checks see it as a dict of its fields.

    Attributes:
        cls: where the class is, as `package.module:Class`.
        fields: the structure of each field.
    """

    cls: str
    fields: Mapping[str, Structure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Complex:
    """A tensor of complex numbers of this rule. Checks see real and imaginary parts along a last axis of 2."""

    rule: str


def parse_structure(structure: Structure, sizes: Mapping[str, int] | None = None) -> Rules:
    """The rules of a structure, parsed. Without sizes, what depends on them stands once.

    Raises:
        TypeError: it is no structure.
        ShapeRuleError: a rule in it can't be read, or the number of layers can't be told from the sizes.
    """
    if structure is None or isinstance(structure, ShapeRule):
        return structure
    if isinstance(structure, str):
        return ShapeRule.parse(structure)
    if isinstance(structure, Layers):
        count = 1 if sizes is None else ShapeRule.parse(structure.count).shape(sizes)[0]
        items = [parse_structure(numbered(structure.part(index), index), sizes) for index in range(count)]
        return tuple(items) if structure.kind == "tuple" else items
    if isinstance(structure, Record):
        return parse_structure(structure.fields, sizes)
    if isinstance(structure, Complex):
        return ShapeRule.parse(f"{structure.rule} 2")
    if isinstance(structure, tuple | list):
        return type(structure)(parse_structure(item, sizes) for item in structure)
    if isinstance(structure, Mapping):
        return {name: parse_structure(item, sizes) for name, item in structure.items()}
    raise TypeError(
        f"a state is a shape rule, or a tuple, list or dict of them, Layers, Record or Complex (got "
        f"{type(structure).__name__})"
    )


def map_structure(function: Callable[[ShapeRule], Any], rules: Rules) -> Any:
    """Apply a function to every rule of a structure."""
    if rules is None:
        return None
    if isinstance(rules, ShapeRule):
        return function(rules)
    if isinstance(rules, Mapping):
        return {name: map_structure(function, item) for name, item in rules.items()}
    return type(rules)(map_structure(function, item) for item in rules)


def numbered(structure: Structure, number: int) -> Structure:
    """A layer's structure with its number put in."""
    if isinstance(structure, str):
        return structure.replace(_NUMBER, str(number))
    if isinstance(structure, Complex):
        return Complex(structure.rule.replace(_NUMBER, str(number)))
    if isinstance(structure, Record):
        return Record(structure.cls, {name: numbered(item, number) for name, item in structure.fields.items()})
    if isinstance(structure, tuple | list):
        return type(structure)(numbered(item, number) for item in structure)
    if isinstance(structure, Mapping):
        return {name: numbered(item, number) for name, item in structure.items()}
    return structure


def structure_text(structure: Structure) -> str:
    """A structure as Python code, in one line."""
    if isinstance(structure, Layers):
        extra = "" if structure.count == "L" else f", count={structure.count!r}"
        extra += "" if structure.kind == "list" else f", kind={structure.kind!r}"
        extra += "" if structure.first is None else f", first={structure_text(structure.first)}"
        return f"Layers({structure_text(structure.item)}{extra})"
    if isinstance(structure, Record):
        return f"Record({structure.cls!r}, {structure_text(structure.fields)})"
    if isinstance(structure, Complex):
        return f"Complex({structure.rule!r})"
    if isinstance(structure, Mapping):
        return "{" + ", ".join(f"{name!r}: {structure_text(item)}" for name, item in structure.items()) + "}"
    if isinstance(structure, tuple):
        inside = ", ".join(structure_text(item) for item in structure)
        return f"({inside},)" if len(structure) == 1 else f"({inside})"
    if isinstance(structure, list):
        return f"[{', '.join(structure_text(item) for item in structure)}]"
    return repr(structure)


def structure_to_json(structure: Structure) -> Any:
    if isinstance(structure, Layers):
        found = {"layers": structure_to_json(structure.item), "count": structure.count, "kind": structure.kind}
        return found if structure.first is None else {**found, "first": structure_to_json(structure.first)}
    if isinstance(structure, Record):
        return {"record": structure.cls, "fields": structure_to_json(dict(structure.fields))}
    if isinstance(structure, Complex):
        return {"complex": structure.rule}
    if isinstance(structure, tuple):
        return {"tuple": [structure_to_json(item) for item in structure]}
    if isinstance(structure, list):
        return {"list": [structure_to_json(item) for item in structure]}
    if isinstance(structure, Mapping):
        return {"dict": {name: structure_to_json(item) for name, item in structure.items()}}
    return structure


def structure_from_json(data: Any) -> Structure:
    if not isinstance(data, Mapping):
        return data
    if "layers" in data:
        return Layers(
            structure_from_json(data["layers"]), data["count"], data["kind"], structure_from_json(data.get("first"))
        )
    if "record" in data:
        return Record(data["record"], structure_from_json(data["fields"]))
    if "complex" in data:
        return Complex(data["complex"])
    if "tuple" in data:
        return tuple(structure_from_json(item) for item in data["tuple"])
    if "list" in data:
        return [structure_from_json(item) for item in data["list"]]
    return {name: structure_from_json(item) for name, item in data["dict"].items()}


_RESULT = re.compile(r"\*?[a-z]+|_")


def read_result(text: str) -> tuple[str, ...]:
    """What the parts of a returned tuple are: `output`, `state`, `*state` (all that is left) or `_` (nothing agreed);
    or which fields of a returned dict, named tuple or dataclass are output and state: `y=output, cache=state`.

    Raises:
        ValueError: the text says nothing of the kind.
    """
    parts = tuple(part.strip() for part in text.split(","))
    known = {"output", "state", "*state", "*_", "_"}
    if "=" in text:
        fields = [part.partition("=") for part in parts]
        kinds = [kind for _, _, kind in fields]
        if all(name.isidentifier() for name, _, _ in fields) and sorted(kinds) in (
            ["output"], ["state"], ["output", "state"],
        ):  # fmt: skip
            return parts
    starred = [part for part in parts if part.startswith("*")]
    wrong = next((part for part in parts if part not in known), None)
    if wrong is not None or len(starred) > 1 or parts.count("output") > 1 or sum("state" in part for part in parts) > 1:
        raise ValueError(
            f"cannot read result={text!r}: write the parts of what a call returns, such as 'output, state', "
            "'output, *state', 'state, output' or 'output, _', or fields, such as 'y=output, cache=state'"
        )
    return parts
