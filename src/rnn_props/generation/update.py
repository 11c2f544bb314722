"""Putting new tests into a file that is there, without touching what stands in it."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rnn_props.contracts.code import WIDTH
from rnn_props.generation.record import find_record, record, recorded
from rnn_props.generation.suite import SuiteFile, import_order


class UpdateError(Exception):
    """A file that tests can't be added to. The message says why."""


@dataclass(frozen=True, slots=True)
class Update:
    """What comes of a file that tests are added to.

    Attributes:
        text: of the file.
        added: the names of the new tests.
        deleted: names of tests that were written once and are not there any more, with the codes of their checks.
    """

    text: str
    added: tuple[str, ...]
    deleted: Mapping[str, str]


def updated(present: str, new: SuiteFile) -> Update:
    """A file with the tests added that it never had; what stands in it stays as it is.

    Args:
        present: the file's text.
        new: what would be written in its place.

    Raises:
        UpdateError: it is no Python, or what new tests need is not in it.
    """
    try:
        tree = ast.parse(present)
    except SyntaxError as error:
        raise UpdateError(f"it is no Python: {error.msg} in line {error.lineno}") from None
    scope: ast.Module | ast.ClassDef = tree
    if new.class_name:
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == new.class_name]
        if not classes:
            raise UpdateError(f"it has no class {new.class_name}")
        scope = classes[0]
    lines = present.rstrip("\n").split("\n")
    there = {node.name for node in scope.body if isinstance(node, ast.FunctionDef)}
    tested, before = _tested(tree), recorded(lines)
    absent = {name: code for name, code in new.codes.items() if name not in there and code not in tested}
    deleted = {name: code for name, code in absent.items() if code in before}
    missing = {name: new.tests[name] for name in absent if name not in deleted}
    if not missing:
        return Update(present, (), deleted)
    used, defined = _names("\n".join(missing.values())), _defined(tree)
    lacking = {name: text for name, text in new.definitions.items() if name in used - defined}
    _ensure(used, defined | set(lacking))
    if new.class_name:
        place = scope.body[-1].end_lineno
        assert place is not None
        added = "\n\n".join(textwrap.indent(text, "    ") for text in missing.values())
        lines[place:place] = ["", *added.split("\n")]
    else:
        lines += ["", "", *"\n\n\n".join(missing.values()).split("\n")]
    below = max(node.end_lineno or 0 for node in tree.body if "MODULE" in _stored(node))
    lines[below:below] = "\n".join(lacking.values()).split("\n") if lacking else []
    _import(lines, tree, new.imports, used.union(*map(_names, lacking.values())) - defined)
    _write_record(lines, before | {code for name, code in new.codes.items() if name in there or name in missing})
    return Update("\n".join(lines) + "\n", tuple(missing), deleted)


def _tested(tree: ast.Module) -> set[str]:
    """The codes that something in a file is called with, such as `MODULE.holds("RP201", case)`: a test that was given
    another name."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="holds" | "rejects" | "passes"), args=[ast.Constant(value=str(code)), *_]
            ):
                found.add(code)
    return found


def _write_record(lines: list[str], codes: set[str]) -> None:
    """Put the list of what was written up to date; one that was taken out comes back below the imports."""
    place = find_record(lines)
    if place is not None:
        lines[place] = record(codes)
        return
    top = ast.parse("\n".join(lines)).body
    imports = [node for node in top if isinstance(node, ast.Import | ast.ImportFrom)]
    after = max((node.end_lineno or 0 for node in imports), default=0)
    lines[after:after] = ["", *record(codes)]


def _import(lines: list[str], tree: ast.Module, imports: Sequence[str], names: set[str]) -> None:
    """Import the names, as far as the import lines of a new file say from where."""
    present = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    new = []
    for line in filter(None, imports):
        (node,) = ast.parse(line).body
        assert isinstance(node, ast.Import | ast.ImportFrom)
        wanted = {alias.name for alias in node.names} & names
        if isinstance(node, ast.Import) or not wanted:
            new += [line] * bool(wanted)
            continue
        beside = next((item for item in present if getattr(item, "module", None) == node.module), None)
        there = set() if beside is None else {ast.unparse(alias) for alias in beside.names}
        longer = f"from {node.module} import {', '.join(sorted(there | wanted, key=_as_sorted))}"
        if beside is not None and beside.lineno == beside.end_lineno and len(longer) <= WIDTH:
            lines[beside.lineno - 1] = longer
        else:
            new.append(f"from {node.module} import {', '.join(sorted(wanted, key=_as_sorted))}")
    others = [node for node in present if getattr(node, "module", "") != "__future__"]
    end = max((node.end_lineno or 0 for node in present), default=0)
    for line in sorted(new, key=import_order, reverse=True):
        before = next((node.lineno - 1 for node in others if import_order(ast.unparse(node)) > import_order(line)), end)
        lines.insert(before, line)


def _as_sorted(name: str) -> tuple[bool, str]:
    """Classes before functions, as isort has them."""
    return name.islower(), name


def _ensure(used: set[str], defined: set[str]) -> None:
    """What new tests stand on must be in the file: the module under test, its contract."""
    lacking = sorted(used & {"CONTRACT", "MODULE"} - defined)
    if lacking:
        raise UpdateError(f"it has no {lacking[0]}, which the new tests use")


def _names(text: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def _defined(tree: ast.Module) -> set[str]:
    """The names that the file's top level defines."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        else:
            found |= _stored(node)
    return found


def _stored(node: ast.stmt) -> set[str]:
    """The names that a statement assigns to."""
    return {item.id for item in ast.walk(node) if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store)}
