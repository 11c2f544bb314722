"""`[tool.rnn_props]`: what is read, and what is said where something means nothing."""

from __future__ import annotations

import datetime
from pathlib import Path

import jsonschema
import pytest

from rnn_props.config import Config, ConfigError, Waiver, find, load_schema, read
from rnn_props.options import Options, resolve

WHOLE = """\
[project]
name = "models"

[tool.rnn_props]
profile = "quick"
devices = ["cpu", "sim"]
skip = ["RP9*"]
seed = 3
strict = true

[tool.rnn_props.targets."models:MyLSTM"]
arguments = {num_heads = 4}
hyperparameters = {hidden_size = {min = 4, max = 6}, nonlinearity = ["tanh", "relu"]}
convention = "rnn"
state = ["L*D B H", "L*D B H"]
capabilities = {unbatched = false, dtypes = ["float32"]}

[tool.rnn_props.targets."models:MyLSTM".expected_failures]
RP301 = "batch norm by design"
RP701 = {reason = "float16 is not used yet", until = 2030-01-31}

[tool.rnn_props.targets."src/models.py:Other"]
checks = ["RP2*"]
profile = "nightly"
max_examples = 7
devices = ["sim"]
tolerance = 2.5
"""


def _file(folder: Path, text: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_everything_that_is_said_is_read(tmp_path: Path) -> None:
    config = read(_file(tmp_path, WHOLE))
    assert config.options == {
        "profile": "quick",
        "devices": ("cpu", "sim"),
        "skip": ("RP9*",),
        "seed": 3,
        "strict": True,
    }
    assert list(config.targets) == ["models:MyLSTM", "src/models.py:Other"]
    mine = config.targets["models:MyLSTM"]
    assert mine.arguments == {"num_heads": 4}
    assert {name: list(values) for name, values in mine.hyperparameters.items()} == {
        "hidden_size": [4, 5, 6],
        "nonlinearity": ["tanh", "relu"],
    }
    assert mine.parts == {"convention": "rnn", "state": ("L*D B H", "L*D B H")}
    assert mine.capabilities == {"unbatched": False, "dtypes": ("float32",)}
    assert mine.expected_failures == {
        "RP301": Waiver("batch norm by design"),
        "RP701": Waiver("float16 is not used yet", datetime.date(2030, 1, 31)),
    }
    other = config.targets["src/models.py:Other"]
    assert other.checks == ("RP2*",)
    assert other.options == {"profile": "nightly", "max_examples": 7, "devices": ("sim",)}
    assert other.parts == {"tolerance": 2.5}


def test_an_option_of_a_target_comes_before_that_of_every_run_and_after_what_is_given(tmp_path: Path) -> None:
    config = read(_file(tmp_path, WHOLE))
    said = resolve(Options(**config.under({})))
    assert (said.profile.name, said.max_examples) == ("quick", None)
    other = said.of("src/models.py:Other")
    assert (other.profile.name, other.max_examples) == ("nightly", 7)
    assert [device.name for device in other.devices] == ["sim"]
    given = resolve(Options(**config.under({"profile": "default"})))
    other = given.of("src/models.py:Other")
    assert (other.profile.name, other.max_examples) == ("default", 7)


def test_a_waiver_counts_up_to_its_day() -> None:
    waiver = Waiver("a reason", datetime.date(2030, 1, 31))
    assert not waiver.expired(datetime.date(2030, 1, 30))
    assert waiver.expired(datetime.date(2030, 1, 31))
    assert not Waiver("a reason").expired(datetime.date.max)


def test_the_nearest_file_that_has_the_table_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "package" / "models"
    inner.mkdir(parents=True)
    assert find(inner) is None
    outer = _file(tmp_path, WHOLE)
    _file(tmp_path / "package", "[project]\nname = 'x'\n")
    assert find(inner) == outer
    nearer = _file(inner, "[tool.rnn_props]\n")
    assert find(inner) == nearer


def test_no_file_and_no_table_say_nothing(tmp_path: Path) -> None:
    assert read(None) == Config()
    assert read(_file(tmp_path, "[project]\nname = 'x'\n")).options == {}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            "[tool.rnn_props]\nprofle = 'quick'\n",
            2,
            "'profle' in [tool.rnn_props] is not known (did you mean 'profile'?)",
        ),
        (
            "[tool.rnn_props]\n\nprofile = 'quikc'\n",
            3,
            "'profile' in [tool.rnn_props] must be one of quick, default, nightly (did you mean 'quick'?) (got",
        ),
        ("[tool.rnn_props]\nseed = -1\n", 2, "'seed' in [tool.rnn_props] must be at least 0 (got -1)"),
        ("[tool.rnn_props]\ndevices = 'cpu'\n", 2, "'devices' in [tool.rnn_props] must be a list (got 'cpu')"),
        ("[tool.rnn_props]\nstrict = 1\n", 2, "'strict' in [tool.rnn_props] must be true or false (got 1)"),
        (
            "[tool.rnn_props.targets.MyLSTM]\nchecks = []\n",
            1,
            "'MyLSTM' in [tool.rnn_props.targets] is no target: write 'package.module:attribute'",
        ),
        (
            "[tool.rnn_props]\n[tool.rnn_props.targets.'m:A'.hyperparameters]\n\n\nhidden_size = {min = 4, max = 2}\n",
            5,
            "'hidden_size' in [tool.rnn_props.targets.\"m:A\".hyperparameters] has 'min' above 'max' (4 > 2)",
        ),
        (
            "[tool.rnn_props.targets.'m:A'.expected_failures]\nRP301 = ''\n",
            2,
            "'RP301' in [tool.rnn_props.targets.\"m:A\".expected_failures] must not be empty",
        ),
        (
            "[tool.rnn_props.targets.'m:A'.expected_failures]\nRP301 = {because = 'x'}\n",
            2,
            "'because' in [tool.rnn_props.targets.\"m:A\".expected_failures.RP301] is not known",
        ),
        (
            "[tool.rnn_props.targets.'m:A'.expected_failures]\nRP301 = {reason = 'x', until = 'soon'}\n",
            2,
            "'until' in [tool.rnn_props.targets.\"m:A\".expected_failures.RP301] must be a date, such as 2030-01-31",
        ),
        (
            "[tool.rnn_props.targets.'m:A']\nconvention = 'rn'\n",
            2,
            "'convention' in [tool.rnn_props.targets.\"m:A\"] must be one of rnn, cell, model, lengths, stateful (",
        ),
        (
            "[tool.rnn_props.targets.'m:A']\nhyperparameters.hidden_size = 3\n",
            2,
            "'hidden_size' in [tool.rnn_props.targets.\"m:A\".hyperparameters] must be a list or a table (got 3)",
        ),
        (
            "[tool.rnn_props.targets.'m:A']\nhyperparameters = {hidden_size = []}\n",
            2,
            "'hidden_size' in [tool.rnn_props.targets.\"m:A\".hyperparameters] must not be empty",
        ),
        (
            "[tool.rnn_props.targets.'m:A']\nhyperparameters = {hidden_size = {min = 1}}\n",
            2,
            "'hidden_size' in [tool.rnn_props.targets.\"m:A\".hyperparameters] needs 'max'",
        ),
    ],
)
def test_what_means_nothing_is_named_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:{line}: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"[tool.rnn_props\n", "is no TOML: "), (b"name = '\xff'\n", "is not UTF-8, as TOML has to be")],
)
def test_a_file_that_is_no_toml_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read(path)
    with pytest.raises(ConfigError, match="can't be read: No such file"):
        read(tmp_path / "nowhere.toml")


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(load_schema())
