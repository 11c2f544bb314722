"""Putting new tests into a file that is there, without touching what stands in it."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from rnn_props.generation.record import find_record, record, recorded
from rnn_props.generation.suite import SuiteFile


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
    _ensure_names(tree, "\n".join(missing.values()))
    if new.class_name:
        place = scope.body[-1].end_lineno
        assert place is not None
        added = "\n\n".join(textwrap.indent(text, "    ") for text in missing.values())
        lines[place:place] = ["", *added.split("\n")]
    else:
        lines += ["", "", *"\n\n\n".join(missing.values()).split("\n")]
    wanted = [line for line in new.imports if line and line not in present.split("\n") and _used(line, tree, missing)]
    first = next((node.lineno for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
                  and getattr(node, "module", "") != "__future__"), 1)  # fmt: skip
    lines[first - 1 : first - 1] = wanted
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


def _used(line: str, tree: ast.Module, missing: dict[str, str]) -> bool:
    """Whether an import line brings a name that the new tests use and the file has not."""
    (node,) = ast.parse(line).body
    assert isinstance(node, ast.Import | ast.ImportFrom)
    names = {alias.asname or alias.name for alias in node.names}
    return bool((names & _names("\n".join(missing.values()))) - _defined(tree))


def _ensure_names(tree: ast.Module, text: str) -> None:
    """What new tests stand on must be in the file: the module under test, its contract."""
    own = _names(text) & {"CONTRACT", "MODULE", "PROPERTY", "ACCELERATORS"}
    lacking = sorted(own - _defined(tree))
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
            stored = [item for item in ast.walk(node) if isinstance(item, ast.Name)]
            found |= {item.id for item in stored if isinstance(item.ctx, ast.Store)}
    return found
