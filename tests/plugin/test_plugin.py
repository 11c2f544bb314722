"""The pytest plugin, as a model repository uses it."""

from __future__ import annotations

import subprocess
import sys

import pytest

_GRU = """
    import torch
    from torch import nn

    class MyGRU(nn.GRU):
        pass

    class Leaky(nn.GRU):
        def forward(self, input, hx=None):
            output, hx = super().forward(input, hx)
            return output.float(), hx
"""

_QUICK = ("--rnn-props-profile", "quick", "--rnn-props-seed", "0", "-p", "no:cacheprovider")


def test_a_target_gives_one_item_a_check(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(models=_GRU)
    result = pytester.runpytest_subprocess("--rnn-props", "models:MyGRU", "--co", "-q", *_QUICK)
    result.stdout.fnmatch_lines(["::rnn_props::MyGRU-RP101-shape.output-cpu", "::rnn_props::MyGRU-RP201-state.cont*"])
    assert result.ret == 0


def test_a_correct_module_passes_and_what_does_not_apply_is_skipped_with_its_reason(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(models=_GRU)
    result = pytester.runpytest_subprocess(
        "--rnn-props", "models:MyGRU", "--rnn-props", "torch.nn:GRUCell", "-k", "RP1 or RP201", "-rs", *_QUICK
    )
    outcome = result.parseoutcomes()
    assert "failed" not in outcome
    assert outcome["passed"] >= 14
    result.stdout.fnmatch_lines(["SKIPPED*not applicable: a cell makes one step: there is no sequence to cut"])


def test_a_failure_begins_with_code_and_name_and_shows_the_case(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(models=_GRU)
    result = pytester.runpytest_subprocess("--rnn-props", "models:Leaky", "-k", "RP105", *_QUICK)
    result.stdout.fnmatch_lines(
        [
            "*Leaky-RP105-type.dtype-cpu*",
            "RP105 type.dtype: output: expected torch.float64, got torch.float32*",
            "*Case(hyperparameters={'input_size': 1, 'hidden_size': 1,*",
            "rule: *",
            "hint: *",
            "more: rnn-props explain RP105",
        ]
    )
    assert "pytest_plugin.py" not in result.stdout.str()
    assert result.ret == 1


def test_targets_come_from_the_ini_file_and_node_ids_select(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(models=_GRU)
    pytester.makeini("[pytest]\nrnn_props_targets =\n    models:MyGRU\n")
    result = pytester.runpytest_subprocess("::rnn_props::MyGRU-RP108-shape.container-cpu", *_QUICK)
    if result.ret != 0:  # a node id without a file part is not pytest's to find
        result = pytester.runpytest_subprocess("-k", "MyGRU-RP108", *_QUICK)
    result.assert_outcomes(passed=1)


def test_the_items_stand_beside_ordinary_tests_and_run_under_xdist(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(models=_GRU, test_ordinary="def test_one(): pass")
    result = pytester.runpytest_subprocess("--rnn-props", "models:Leaky", "-k", "one or RP105", "-n", "2", *_QUICK)
    result.assert_outcomes(passed=1, failed=1)


def test_a_target_that_can_not_be_imported_is_failing_items_with_one_clear_line(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--rnn-props", "no_models:X", "-k", "RP101", *_QUICK)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*rnn-props cannot use no_models:X: there is no module 'no_models'*"])


def test_an_unknown_check_or_profile_is_a_usage_error(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--rnn-props", "torch.nn:GRU", "--rnn-props-checks", "RP9999")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no check matches 'RP9999'*"])
    result = pytester.runpytest_subprocess("--rnn-props", "torch.nn:GRU", "--rnn-props-profile", "slow")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_without_targets_the_plugin_imports_neither_torch_nor_hypothesis(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import sys\ndef test_it():\n    assert not {'torch', 'hypothesis', 'rich', 'rnn_props.api'} & set(sys.modules)"
    )
    # Hypothesis's own plugin and the others are not ours to answer for.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "rnn_props.pytest_plugin", "-p", "no:cacheprovider"],
        env={**_environment(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=pytester.path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def _environment() -> dict[str, str]:
    import os

    return dict(os.environ)


def test_advice_is_a_warning_and_strict_makes_it_a_failure(pytester: pytest.Pytester) -> None:
    arguments = ("--rnn-props", "torch.nn:GRUCell", "-k", "RP403", *_QUICK)
    plain = pytester.runpytest_subprocess(*arguments)
    plain.assert_outcomes(passed=1, warnings=1)
    strict = pytester.runpytest_subprocess(*arguments, "--rnn-props-strict")
    strict.assert_outcomes(failed=1)
