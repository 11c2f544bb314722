"""The layers of the package point one way, and its thin faces import nothing heavy."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import rnn_props

SOURCE = Path(rnn_props.__file__).parent
ROOT = SOURCE.parent.parent

#: From the top to the bottom: DESIGN, section 3.
LAYERS = (
    {"cli", "pytest_plugin"},
    {"suite", "cli_files", "cli_options"},
    {"pytest_items"},
    {"api"},
    {"options"},
    {"generation"},
    {"reporting"},
    {"execution"},
    {"strategies", "testing"},
    {"checks"},
    {"numerics"},
    {"cases"},
    {"inference"},
    {"subjects"},
    {"devices"},
    {"contracts"},
    {"config"},
    {"extensions"},
    {"targets"},
)
RANK = {name: len(LAYERS) - place for place, names in enumerate(LAYERS) for name in names}


def _part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _imports(path: Path) -> set[str]:
    """Every part of the package that a file imports, anywhere in it but under TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {_part(name) for name in found if name.startswith("rnn_props.")}


def _layer(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = sorted(path for path in SOURCE.rglob("*.py") if _layer(path) in RANK)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_file_imports_a_layer_above_its_own(path: Path) -> None:
    own = _layer(path)
    above = {part for part in _imports(path) if part in RANK and RANK[part] > RANK[own]}
    beside = {part for part in _imports(path) if part in RANK and RANK[part] == RANK[own] and part != own}
    assert above == set()
    assert beside == set()


def test_every_part_of_the_package_has_a_layer() -> None:
    parts = {
        path.name.removesuffix(".py")
        for path in SOURCE.iterdir()
        if not path.name.startswith(("__", ".")) and path.suffix != ".json"
    }
    assert parts - {"zoo", "py.typed"} <= set(RANK)


def test_the_import_linter_agrees() -> None:
    pytest.importorskip("importlinter")
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True,
        env={"PYTHONPATH": str(SOURCE.parent), "PATH": "", "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    "module", ["rnn_props", "rnn_props.targets", "rnn_props.cli", "rnn_props.cli_options", "rnn_props.pytest_plugin"]
)
def test_importing_a_thin_face_imports_neither_torch_nor_hypothesis(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"there is no {module} yet")
    code = f"import sys, {module}; print([name for name in ('torch', 'hypothesis', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_every_public_name_is_there_and_unknown_ones_are_not() -> None:
    for name in rnn_props.__all__:
        assert getattr(rnn_props, name) is not None
    assert dir(rnn_props) == rnn_props.__all__
    with pytest.raises(AttributeError, match="module 'rnn_props' has no attribute 'chekc'"):
        _ = rnn_props.chekc
