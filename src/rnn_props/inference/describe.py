"""What `rnn-props infer` prints: a contract and its evidence, line by line."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import fields

from rnn_props.contracts import OPEN, Capabilities, Contract, Domain, structure_text


def contract_text(target: str, contract: Contract, width: int = 100, note: str = "") -> str:
    """A contract for people: how the module is built and called, what it can do, the evidence, and what stayed open."""
    lines = [target, *_indented(_call_lines(contract), width)]
    for title, items in (
        ("hyperparameters", list(_hyperparameters(contract))),
        ("capabilities", [", ".join(_capabilities(contract)) or "none beyond the plain call"]),
        ("evidence", [item for item in contract.evidence if not item.startswith(OPEN)]),
        ("open", [item.removeprefix(OPEN) for item in contract.evidence if item.startswith(OPEN)]),
    ):
        if items:
            lines += ["", f"  {title}", *_indented(items, width, "    ")]
    lines += ["", f"  {note}"] if note else []
    lines += [
        "",
        f"  keep it:  rnn-props infer {target} --toml      for pyproject.toml",
        f"            rnn-props infer {target} --python    a Contract(...) to paste",
    ]
    return "\n".join(lines)


def _indented(items: list[str], width: int, indent: str = "  ") -> Iterator[str]:
    for item in items:
        yield from textwrap.wrap(item, width, initial_indent=indent, subsequent_indent=f"{indent}  ") or [indent]


def _call_lines(contract: Contract) -> list[str]:
    adapter = contract.adapter
    name = contract.convention if adapter is None else f"adapter {contract.to_json()['convention']}"
    output = "no output of its own" if contract.output is None else f"output {_shape(contract.output)}"
    state = "no state" if contract.state is None else f"state {structure_text(contract.state)}"
    lines = [f"{name}: input {_shape(contract.input)} -> {output}, {state}"]
    if contract.vocabulary is not None:
        lines.append(f"the input is token ids below {contract.vocabulary}")
    if contract.result:
        lines.append(f"a call returns {_result(contract.result)}")
    for what, argument in contract.arguments.items():
        form = contract.form(what)
        words = "" if form is None else f", {form.words(what)}"
        lines.append(f"{_GOES_IN[what]} {', '.join(argument.split())}{words}")
    if contract.keywords:
        given = ", ".join(f"{name}={value!r}" for name, value in contract.keywords.items())
        lines.append(f"every call has {given}")
    if contract.step:
        one = contract.step["input"].replace("T", "1")
        lines.append(f"{contract.step['method']}() makes one step, with an input {_shape(one)}")
    if contract.reset:
        lines.append(f"{contract.reset}() is called before each sequence")
    return lines


_GOES_IN = {
    "lengths": "lengths go in as",
    "starts": "where an episode begins goes in as",
    "time_spans": "time spans go in as",
    "state": "the state goes in as",
}


def _result(result: str) -> str:
    return f"an object with {result}" if "=" in result else f"({result})"


def _shape(rule: str) -> str:
    parts = rule.split()
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def _hyperparameters(contract: Contract) -> Iterator[str]:
    roles = {name: role for role, name in contract.roles.items()}
    for name, domain in contract.hyperparameters.items():
        role = roles.get(name, "")
        text = "" if role in ("", name) else f" ({role})"
        values = ", ".join(map(repr, domain.values)) if isinstance(domain, Domain) else repr(domain)
        yield f"{name}{text}: {values}"
    for name, value in contract.fixed.items():
        yield f"{name}: {value!r}, always"


def _capabilities(contract: Contract) -> Iterator[str]:
    plain = Capabilities()
    for item in fields(Capabilities):
        value = getattr(contract.capabilities, item.name)
        if value == getattr(plain, item.name):
            continue
        if isinstance(value, bool):
            yield item.name if value else f"not {item.name}"
        else:
            yield f"{item.name} {' '.join(value)}"
