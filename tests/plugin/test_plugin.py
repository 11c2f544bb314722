"""The pytest plugin, as a model repository uses it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from small_models import FEW, MODELS, QUICK, run

from rnn_props.checks import all_checks
from rnn_props.pytest_plugin import FAMILIES


def test_a_target_gives_one_item_a_check_under_its_own_node(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--rnn-props", "models:MyGRU", "--rnn-props", "models:Leaky", "--co", *FEW)
    result.stdout.fnmatch_lines(
        [
            "<RnnPropsTarget models:MyGRU>",
            "  <RnnPropsCheck MyGRU-RP101-shape.output-cpu>",
            "  <RnnPropsCheck MyGRU-RP105-type.dtype-cpu>",
            "  <RnnPropsCheck MyGRU-RP107-shape.parameters-cpu>",
            "<RnnPropsTarget models:Leaky>",
            "  <RnnPropsCheck Leaky-RP101-shape.output-cpu>",
        ]
    )
    assert result.ret == 0
    quiet = run(pytester, "--rnn-props", "models:MyGRU", "--co", "-q", *QUICK)
    quiet.stdout.fnmatch_lines(["models:MyGRU::MyGRU-RP201-state.continuity-cpu"])


@pytest.mark.nightly
def test_targets_of_one_name_are_told_apart(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(others=MODELS)
    result = run(pytester, "--rnn-props", "models:MyGRU", "--rnn-props", "others:MyGRU", "--co", "-q", *FEW)
    result.stdout.fnmatch_lines(["others:MyGRU::others:MyGRU-RP101-shape.output-cpu"])


def test_a_correct_module_passes_and_what_does_not_apply_is_skipped_with_its_reason(pytester: pytest.Pytester) -> None:
    arguments = ("--rnn-props", "torch.nn:GRUCell", "-k", "RP102 or RP103 or RP20", "-rs", *QUICK)
    result = run(pytester, *arguments)
    outcome = result.parseoutcomes()
    assert "failed" not in outcome
    assert outcome["passed"] >= 6
    result.stdout.fnmatch_lines(
        ["SKIPPED [[]*[]] torch.nn:GRUCell:1: not applicable: a cell makes one step: there is no sequence to cut"]
    )


def test_a_failure_begins_with_code_and_name_and_shows_the_case(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--rnn-props", "models:Leaky", "-k", "RP105", *QUICK)
    result.stdout.fnmatch_lines(
        [
            "*Leaky-RP105-type.dtype-cpu*",
            "RP105 type.dtype: output: expected torch.float64, got torch.float32*",
            "*Case(hyperparameters={'input_size': 1, 'hidden_size': 1,*",
            "rule: *",
            "hint: *",
            "more: rnn-props explain RP105",
            "FAILED models:Leaky::Leaky-RP105-type.dtype-cpu - RP105 type.dtype: *",
        ]
    )
    assert not re.search(r"pytest_(plugin|items)\.py", result.stdout.str())
    assert result.ret == 1


@pytest.mark.nightly
def test_node_ids_select_targets_and_items_beside_files(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_ordinary="def test_one(): pass", test_other="def test_two(): pass")
    pytester.makeini("[pytest]\nrnn_props_targets =\n    models:MyGRU\n    models:Leaky\n")
    one = run(pytester, "models:MyGRU::MyGRU-RP107-shape.parameters-cpu", "-v", *QUICK)
    one.assert_outcomes(passed=1)
    one.stdout.fnmatch_lines(["models:MyGRU::MyGRU-RP107-shape.parameters-cpu PASSED*"])
    target = run(pytester, "models:MyGRU", "test_ordinary.py", *FEW)
    target.assert_outcomes(passed=4)
    wrong = run(pytester, "models:MyGRU::MyGRU-RP999-no.such-cpu", *FEW)
    wrong.assert_outcomes(errors=1)
    wrong.stdout.fnmatch_lines(["there is no MyGRU-RP999-no.such-cpu of models:MyGRU; `pytest --co` lists them"])


@pytest.mark.nightly
@pytest.mark.slow
def test_the_last_failures_run_alone_or_first(pytester: pytest.Pytester) -> None:
    arguments = ("--rnn-props", "models:Leaky", *FEW)
    run(pytester, *arguments).assert_outcomes(passed=2, failed=1)
    run(pytester, *arguments, "--lf").assert_outcomes(failed=1)
    run(pytester, *arguments, "--ff", "-x").assert_outcomes(failed=1)


def test_the_items_stand_beside_ordinary_tests(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_ordinary="def test_one(): pass")
    result = run(pytester, "--rnn-props", "models:Leaky", "-k", "one or RP105", "-p", "no:cacheprovider", *QUICK)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["test_ordinary.py .*", "models:Leaky F*"])


@pytest.mark.nightly
@pytest.mark.slow
def test_xdist_gives_the_same_verdicts_whatever_ran_where(pytester: pytest.Pytester) -> None:
    """RP205 explains RP201's failure, and comes after it: what it says must not depend on the order of items."""
    bug = "rnn_props.zoo:SwapsCellStateDirections"
    arguments = ("--rnn-props", bug, "--rnn-props-checks", "RP201,RP202,RP204,RP205", *QUICK, "-rA")
    serial, spread = run(pytester, *arguments), run(pytester, *arguments, "-n", "2")
    assert spread.parseoutcomes() == serial.parseoutcomes()
    assert serial.parseoutcomes()["failed"] >= 1

    def told(result: pytest.RunResult) -> set[str]:
        return set(re.findall(r"^(?:PASSED|FAILED) \S+", result.stdout.str(), re.M))

    assert told(serial) == told(spread) != set()


def test_a_target_that_can_not_be_imported_is_one_failing_item_with_one_clear_line(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--rnn-props", "no_models:X", "-k", "RP10", "-rs", *QUICK)
    result.assert_outcomes(failed=1, skipped=7)
    result.stdout.fnmatch_lines(["rnn-props cannot use no_models:X: there is no module 'no_models'*"])
    result.stdout.fnmatch_lines(["*blocked: no_models:X can't be used (see X-RP101-shape.output-cpu)"])


#: Options that mean nothing, and what is said of each. The first is tried in every run, the others at night.
MEANINGLESS = [
    (["--rnn-props-checks", "RP9999"], "rnn-props: no check matches 'RP9999'"),
    (["--rnn-props-profile", "slow"], "rnn-props: profile must be one of quick, default, nightly (got 'slow')"),
    (["--rnn-props-max-examples", "0"], "rnn-props: max_examples must be at least 1 (got 0)"),
    (["--rnn-props-device", "gpu"], "rnn-props: 'gpu' is not a device (did you mean 'cuda'?)"),
    (["--hypothesis-seed", "soon"], "rnn-props: --hypothesis-seed must be a number or 'random' (got 'soon')"),
]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [MEANINGLESS[0], *(pytest.param(*row, marks=pytest.mark.nightly) for row in MEANINGLESS[1:])],
    ids=lambda item: item[0] if isinstance(item, list) else "",
)
def test_an_option_that_means_nothing_is_a_usage_error(
    pytester: pytest.Pytester, arguments: list[str], message: str
) -> None:
    result = run(pytester, "--rnn-props", "torch.nn:GRU", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str()


@pytest.mark.nightly
def test_a_target_that_is_named_twice_is_checked_once_and_said_so(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--rnn-props", "models:MyGRU", "--rnn-props", "models:MyGRU", *QUICK, "-k", "RP107")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*rnn-props: models:MyGRU is named 2 times; it is checked once"])


@pytest.mark.nightly
def test_items_have_a_marker_and_one_of_their_family(pytester: pytest.Pytester) -> None:
    arguments = ("--rnn-props", "models:MyGRU", "--co", "-q", "--strict-markers", *QUICK)
    result = run(pytester, *arguments, "-m", "rnn_props_type")
    names = re.findall(r"^models:MyGRU::(\S+)$", result.stdout.str(), re.M)
    assert names == ["MyGRU-RP105-type.dtype-cpu", "MyGRU-RP106-type.factory-cpu"]
    assert run(pytester, *arguments, "-m", "not rnn_props").ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_every_family_has_its_marker() -> None:
    assert sorted({check.family for check in all_checks()}) == sorted(FAMILIES)


@pytest.mark.nightly
def test_junit_files_have_code_and_case_id(pytester: pytest.Pytester) -> None:
    run(pytester, "--rnn-props", "models:Leaky", "-k", "RP105", "--junitxml", "junit.xml", *QUICK)
    (case,) = ElementTree.parse(pytester.path / "junit.xml").iter("testcase")
    assert case.attrib["name"] == "Leaky-RP105-type.dtype-cpu"
    found = {item.attrib["name"]: item.attrib["value"] for item in case.iter("property")}
    assert found["rnn_props_code"] == "RP105"
    assert found["rnn_props_status"] == "failed"
    assert re.fullmatch("[0-9a-f]{6}", found["rnn_props_case_id"])


@pytest.mark.nightly
def test_advice_is_a_warning_and_strict_makes_it_a_failure(pytester: pytest.Pytester) -> None:
    arguments = ("--rnn-props", "torch.nn:GRUCell", "-k", "RP403", *QUICK)
    plain = run(pytester, *arguments)
    plain.assert_outcomes(passed=1, warnings=1)
    strict = run(pytester, *arguments, "--rnn-props-strict")
    strict.assert_outcomes(failed=1)


@pytest.mark.nightly
def test_hypothesis_statistics_have_the_checks(pytester: pytest.Pytester) -> None:
    arguments = ("--rnn-props", "models:MyGRU", "-k", "RP107", *QUICK)
    result = run(pytester, *arguments, "--hypothesis-show-statistics")
    result.stdout.fnmatch_lines(
        [
            "*Hypothesis Statistics*",
            "models:MyGRU::MyGRU-RP107-shape.parameters-cpu:",
            "  - passed after * examples and 0 discarded ones, in * seconds, *% of it inside the module",
        ]
    )


def test_without_targets_the_plugin_imports_neither_torch_nor_hypothesis_nor_rich(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import sys\ndef test_it():\n    assert not {'torch', 'hypothesis', 'rich', 'rnn_props.api'} & set(sys.modules)"
    )
    # Hypothesis's own plugin and the others are not ours to answer for.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "rnn_props.pytest_plugin", "-p", "no:cacheprovider"],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=pytester.path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.nightly
def test_the_plugin_works_where_the_package_is_a_file_path(pytester: pytest.Pytester) -> None:
    pytester.mkdir("sub")
    pytester.makepyfile(**{"sub/models": MODELS})
    result = run(pytester, "--rnn-props", "sub/models.py:Leaky", *FEW, "-rf")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["FAILED sub/models.py:Leaky::Leaky-RP105-type.dtype-cpu - RP105*"])


@pytest.mark.nightly
def test_the_configuration_of_the_repository_holds_here_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        own="""
        from rnn_props import register_check

        @register_check("MY001", "naming.module", hint="Rename it.")
        def named(t):
            '''The class has a name.'''
            assert type(t.build().module).__name__
        """
    )
    pytester.makepyprojecttoml(
        """
        [tool.pytest.ini_options]
        rnn_props_targets = ["models:Leaky"]
        addopts = "--strict-markers"

        [tool.rnn_props]
        profile = "quick"
        seed = 0
        extensions = ["own.py"]

        [tool.rnn_props.targets."models:Leaky"]
        checks = ["RP101", "RP105", "RP106", "MY*"]
        skip = ["RP106"]

        [tool.rnn_props.targets."models:Leaky".expected_failures]
        RP105 = "float32 alone is promised"
        RP101 = {reason = "it was wrong once", until = 2020-01-31}
        """
    )
    result = run(pytester, "-rsx", "-v")
    result.assert_outcomes(passed=2, xfailed=1)
    result.stdout.fnmatch_lines(
        [
            "*Leaky-MY001-naming.module-cpu PASSED*",
            "*RP101 is no longer expected to fail since 2020-01-31 (it was wrong once)*",
            "XFAIL *Leaky-RP105-type.dtype-cpu - *float32 alone is promised*",
        ],
    )
    pytester.makepyprojecttoml("[tool.rnn_props]\nprofil = 'quick'\n")
    result = run(pytester, "--rnn-props", "models:MyGRU")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: rnn-props: *pyproject.toml:2: 'profil' in [[]tool.rnn_props] is not known*"])
