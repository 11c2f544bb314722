"""Targets: from the text that a user writes to the object, and what is said when that fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn_props.targets import TargetError, load, parse

IDENTIFIERS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True)
DOTTED = st.lists(IDENTIFIERS, min_size=1, max_size=3).map(".".join)


@pytest.fixture(autouse=True)
def _imports_undone() -> Iterator[None]:
    modules, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `tidal_models` with a module `layers`, importable."""
    folder = tmp_path / "tidal_models"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "layers.py").write_text(
        "class Outer:\n    class Inner:\n        depth = 2\n\nclass StackedLSTM:\n    pass\n\n_hidden = 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def _error(text: str) -> str:
    with pytest.raises(TargetError) as caught:
        load(parse(text))
    return str(caught.value)


@given(DOTTED, DOTTED)
def test_a_target_is_split_into_module_and_attribute(location: str, attribute: str) -> None:
    target = parse(f"{location}:{attribute}")
    assert (target.text, target.location, target.attribute) == (f"{location}:{attribute}", location, attribute)
    assert not target.is_file
    assert target.name == attribute.split(".")[-1]


@pytest.mark.parametrize("location", ["models.py", "some/folder/models.py", "/abs/models.py", "C:\\work\\models.py"])
def test_a_location_that_ends_in_py_is_a_file(location: str) -> None:
    target = parse(f"{location}:MyLSTM")
    assert target.is_file
    assert (target.location, target.attribute) == (location, "MyLSTM")


_FORM = "is not a target: write 'package.module:attribute' or 'path/to/file.py:attribute'"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pkg.models.MyLSTM", f"'pkg.models.MyLSTM' {_FORM}; did you mean 'pkg.models:MyLSTM'?"),
        ("src/models.py", f"'src/models.py' {_FORM}; name the class too, such as 'src/models.py:MyLSTM'"),
        ("MyLSTM", f"'MyLSTM' {_FORM}"),
        ("", f"'' {_FORM}"),
        (":MyLSTM", f"':MyLSTM' {_FORM}"),
        ("models:", f"'models:' {_FORM}"),
        ("models:My-LSTM", "'models:My-LSTM': 'My-LSTM' is not the name of an attribute"),
        ("models:MyLSTM()", "'models:MyLSTM()': 'MyLSTM()' is not the name of an attribute"),
        ("models:a..b", "'models:a..b': 'a..b' is not the name of an attribute"),
    ],
)
def test_a_text_that_is_no_target_is_refused_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_an_attribute_of_a_module_is_found(package: Path) -> None:
    found = load(parse("tidal_models.layers:StackedLSTM"))
    assert found.__qualname__ == "StackedLSTM"


def test_a_dotted_attribute_reaches_nested_classes(package: Path) -> None:
    target = parse("tidal_models.layers:Outer.Inner")
    assert target.name == "Inner"
    assert load(target).depth == 2
    assert load(parse("tidal_models.layers:Outer.Inner.depth")) == 2


def test_a_misspelt_attribute_is_named_with_the_closest_one(package: Path) -> None:
    assert _error("tidal_models.layers:StackedLTSM") == (
        "tidal_models.layers has no attribute 'StackedLTSM'; did you mean 'StackedLSTM'?"
    )
    assert _error("tidal_models.layers:Outer.Iner") == (
        "tidal_models.layers:Outer has no attribute 'Iner'; did you mean 'Inner'?"
    )
    assert _error("tidal_models.layers:zzzzzz") == "tidal_models.layers has no attribute 'zzzzzz'"


def test_a_misspelt_module_is_named_with_the_closest_one(package: Path) -> None:
    assert _error("tidal_modles:X") == "there is no module 'tidal_modles'; did you mean 'tidal_models'?"
    assert _error("tidal_models.layer:X") == ("there is no module 'tidal_models.layer'; did you mean 'layers'?")
    assert _error("qqqqqqqqqqqqqq.zz:X") == (
        "there is no module 'qqqqqqqqqqqqqq'; is its package installed, and are you in the folder that it is "
        "imported from?"
    )


def test_a_module_that_lacks_one_of_its_own_imports_is_not_called_missing(package: Path) -> None:
    (package / "broken.py").write_text("import no_such_dependency_here\n")
    assert _error("tidal_models.broken:X") == (
        "importing tidal_models.broken failed: ModuleNotFoundError: No module named 'no_such_dependency_here'"
    )


def test_what_a_module_raises_at_import_is_passed_on(package: Path) -> None:
    (package / "raising.py").write_text("raise RuntimeError('no weights found')\n")
    assert _error("tidal_models.raising:X") == "importing tidal_models.raising failed: RuntimeError: no weights found"
    (package / "typo.py").write_text("class X(:\n")
    assert _error("tidal_models.typo:X").startswith("importing tidal_models.typo failed: SyntaxError: ")


def test_a_module_that_ends_the_program_at_import_is_an_error_with_the_remedy(package: Path) -> None:
    (package / "script.py").write_text("import sys\nsys.exit(3)\n")
    assert _error("tidal_models.script:X") == (
        "importing tidal_models.script failed: it called sys.exit(3); guard the call with if __name__ == '__main__'"
    )
    path = package / "script.py"
    assert _error(f"{path}:X") == (
        f"importing {path} failed: it called sys.exit(3); guard the call with if __name__ == '__main__'"
    )
    assert "script" not in sys.modules


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_it.py").write_text("value = 7\n")
    (tmp_path / "my_tidal_net.py").write_text("from neighbour_of_it import value\nclass Net:\n    size = value\n")
    assert load(parse(f"{tmp_path / 'my_tidal_net.py'}:Net")).size == 7
    assert str(tmp_path) in sys.path


def test_a_file_is_imported_once(tmp_path: Path) -> None:
    (tmp_path / "counted_net.py").write_text("class Net:\n    pass\n")
    target = parse(f"{tmp_path / 'counted_net.py'}:Net")
    assert load(target) is load(target)


def test_a_file_named_like_a_module_that_is_loaded_hides_neither(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("class Net:\n    size = 3\n")
    import json

    assert load(parse(f"{tmp_path / 'json.py'}:Net")).size == 3
    assert sys.modules["json"] is json


def test_a_relative_path_is_read_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "relative_net.py").write_text("class Net:\n    size = 3\n")
    monkeypatch.chdir(tmp_path)
    assert load(parse("relative_net.py:Net")).size == 3


def test_a_missing_file_is_named_with_the_closest_one(tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text("")
    missing = tmp_path / "my_model.py"
    assert _error(f"{missing}:Net") == f"there is no file {missing}; did you mean 'my_models.py'?"
    assert _error("no/such/folder/x_y_z_1.py:Net").startswith("there is no file no/such/folder/x_y_z_1.py")


def test_a_file_that_fails_to_import_leaves_no_half_of_itself_behind(tmp_path: Path) -> None:
    path = tmp_path / "half_a_net.py"
    path.write_text("class Net:\n    pass\nraise ValueError('later')\n")
    assert _error(f"{path}:Net") == f"importing {path} failed: ValueError: later"
    assert "half_a_net" not in sys.modules
    path.write_text("class Net:\n    pass\n")
    assert load(parse(f"{path}:Net")).__name__ == "Net"


def test_a_misspelt_attribute_of_a_file_is_named_with_the_closest_one(tmp_path: Path) -> None:
    path = tmp_path / "speller_net.py"
    path.write_text("class Net:\n    pass\n")
    assert _error(f"{path}:Nett") == f"{path} has no attribute 'Nett'; did you mean 'Net'?"
