"""A throw-away model repository: the wheel in an environment of its own, and each of the three ways finds its bug."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_FILES = {
    "pkg/__init__.py": "",
    "pkg/models.py": """
from torch import nn


class MyGRU(nn.GRU):
    pass


class Buggy(nn.LSTM):
    def forward(self, input, hx=None):
        output, (h, c) = super().forward(input, hx)
        return output, (h, 0.9 * c)


class Classifier(nn.Module):
    def __init__(self, input_size, hidden_size, num_classes):
        super().__init__()
        self.gru = nn.GRU(input_size, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, num_classes)

    def forward(self, x):
        return self.head(self.gru(x)[0][:, -1])
""",
    "conftest.py": "import pytest\n\n\n@pytest.fixture\ndef check_name(check):\n    return check.code\n",
    "pyproject.toml": """
[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]
addopts = "--strict-markers --rnn-props-profile quick --rnn-props-checks RP101,RP105,RP201 -rA"
rnn_props_targets = ["pkg.models:MyGRU", "pkg.models:Buggy", "pkg.models:Classifier"]
""",
    "tests/test_models.py": """
import pytest
import rnn_props
from pkg.models import Buggy, Classifier, MyGRU

OPTIONS = dict(profile="quick", seed=0, checks=("RP101", "RP105", "RP201"))


@rnn_props.parametrize(MyGRU, **OPTIONS)
def test_gru(check, check_name):
    assert check().code == check_name


@rnn_props.parametrize(Buggy, **OPTIONS)
def test_buggy(check):
    check()


def test_classifier():
    rnn_props.assert_conforms(Classifier, **OPTIONS)
""",
}

#: What the bug fails, and nothing else does.
_FAILED = {
    "pkg.models:Buggy::Buggy-RP201-state.continuity-cpu",
    "tests/test_models.py::test_buggy[RP201-state.continuity-cpu]",
    "tests/test_buggy_props.py::test_state_continuity",
}
#: Options, variables, and what the output shows where they have come through.
_VARIANTS = {
    "plain": ([], {}, "plugins: .*rnn-props-"),
    "xdist": (["-n", "2"], {}, "created: 2/2 workers|2 workers"),
    "no cache": (["-p", "no:cacheprovider"], {}, "plugins: .*rnn-props-"),
    "importlib": (["--import-mode=importlib"], {}, "plugins: .*rnn-props-"),
    "CI": ([], {"CI": "1"}, "plugins: .*rnn-props-"),
    "random order": (["-p", "randomly", "-p", "no:cacheprovider"], {}, r"Using --randomly-seed=\d+"),
    "coverage": (["--cov=pkg"], {}, r"^pkg/models\.py .*%$"),
}


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The repository, and the Python of an environment that has the wheel; torch and the like it sees from here."""
    folder = tmp_path_factory.mktemp("repository")
    built = run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder / "dist", ROOT, cwd=folder)
    assert built.returncode == 0, built.stderr
    made = run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    assert made.returncode == 0, made.stderr
    python = folder / "venv" / "bin" / "python"
    (wheel,) = (folder / "dist").glob("rnn_props-*.whl")
    installed = run(python, "-m", "pip", "install", "-q", "--no-deps", wheel, "pytest-randomly", cwd=folder)
    assert installed.returncode == 0, installed.stderr
    here = {sysconfig.get_path("purelib"), *(path for path in sys.path if path.endswith("site-packages"))}
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "torch_and_others.pth").write_text("\n".join(sorted(here)), encoding="utf-8")
    work = folder / "work"
    for name, text in _FILES.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text.lstrip("\n"), encoding="utf-8")
    for target, name in (("Buggy", "buggy"), ("MyGRU", "gru")):
        arguments = ("generate", f"pkg.models:{target}", "--checks", "RP101,RP105,RP201")
        done = run(python, "-m", "rnn_props", *arguments, "-o", f"tests/test_{name}_props.py", cwd=work)
        assert done.returncode == 0, done.stderr
    found = run(python, "-c", "import rnn_props; print(rnn_props.__file__)", cwd=work)
    assert str(folder) in found.stdout
    return work, python


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("variant", list(_VARIANTS))
def test_each_way_finds_the_bug_and_passes_the_rest(repository: tuple[Path, Path], variant: str) -> None:
    work, python = repository
    arguments, environment, shows = _VARIANTS[variant]
    if variant != "random order":
        arguments = ["-p", "no:randomly", *arguments]
    done = run(python, "-m", "pytest", *arguments, cwd=work, **environment)
    assert re.search(shows, done.stdout, re.M), done.stdout
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+?\S)(?: - .*)?$", done.stdout, re.M)
    assert set(failed) == _FAILED, done.stdout + done.stderr
    passed = re.findall(r"^PASSED (\S+)", done.stdout, re.M)
    assert len(passed) == 7 + 6 + 5, done.stdout
