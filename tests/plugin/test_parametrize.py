"""`rnn_props.parametrize` in a test file."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
import small_models

import rnn_props

_OPTIONS = "profile='quick', seed=0, checks=('RP105', 'RP107')"


def run(pytester: pytest.Pytester, text: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(
        test_it=f"import rnn_props\nfrom models import Leaky, MyGRU\n\nOPTIONS = dict({_OPTIONS})\n\n{text}"
    )
    return small_models.run(pytester, "-rA", *arguments)


def test_a_function_and_each_test_of_a_class_run_once_a_check(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        "@rnn_props.parametrize(MyGRU, **OPTIONS)\n"
        "def test_it(check):\n    assert check().code == check.code\n\n"
        "@rnn_props.parametrize(Leaky, **OPTIONS)\n"
        "class TestLeaky:\n    def test_one(self, check):\n        check()\n",
        "-m",
        "rnn_props",
    )
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            ">       check()",
            "E       AssertionError: RP105 type.dtype: output: expected torch.float64, got torch.float32*",
            "FAILED *::TestLeaky::test_one[[]RP105-type.dtype-cpu] - RP105 type.*",
        ]
    )
    assert "pytest_items.py" not in result.stdout.str()


def test_an_expected_failure_is_xfailed_with_its_reason_and_a_stale_one_fails(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        "KNOWN = {'RP105': 'float32 by design', 'shape.parameters': 'long gone'}\n\n"
        "@rnn_props.parametrize(Leaky, expected_failures=KNOWN, **OPTIONS)\n"
        "def test_it(check):\n    check()\n",
    )
    result.assert_outcomes(xfailed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E       AssertionError: RP107 shape.parameters: was expected to fail, and no longer does: take it out of "
            "expected_failures",
            "E       reason given: long gone",
            "XFAIL *RP105-type.dtype-cpu] - float32 by design (output: expected torch.float64, got torch.float32*",
        ]
    )


def test_what_does_not_apply_is_skipped_and_junit_files_have_the_case(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        "@rnn_props.parametrize(Leaky, profile='quick', seed=0, checks=('RP105', 'RP303', 'RP801', 'RP802'))\n"
        "def test_it(check):\n    check()\n\n"
        "@rnn_props.parametrize('torch.nn:GRUCell', profile='quick', seed=0, checks=('RP201',))\n"
        "def test_cell(check):\n    check()\n",
        "--junitxml=junit.xml",
    )
    result.stdout.fnmatch_lines(["SKIPPED *not applicable: a cell makes one step: there is no sequence to cut"])
    cases = ElementTree.parse(pytester.path / "junit.xml").iter("testcase")
    (failed,) = [case for case in cases if case.find("failure") is not None]
    found = {item.attrib["name"]: item.attrib["value"] for item in failed.iter("property")}
    assert found["rnn_props_code"] == "RP105"
    assert re.fullmatch("[0-9a-f]{6}", found["rnn_props_case_id"])


@pytest.mark.nightly
def test_factories_instances_and_contracts_are_targets_too(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        "from functools import partial\n"
        "from torch import nn\n"
        "INSTANCE = nn.LSTM(3, 4)\n"
        "SMALL = partial(nn.GRU, num_layers=1)\n"
        "def make(input_size, hidden_size):\n    return nn.GRU(input_size, hidden_size)\n\n"
        "CONTRACT = rnn_props.Contract(\n"
        "    build=SMALL, fixed={'input_size': 3, 'hidden_size': 4}, input='T B 3', output='T B 4', state='1 B 4'\n"
        ")\n\n"
        "OPTIONS = dict(OPTIONS, checks=('RP101',))\n"
        "@rnn_props.parametrize(INSTANCE, **OPTIONS)\ndef test_instance(check):\n    check()\n\n"
        "@rnn_props.parametrize(make, **OPTIONS)\ndef test_factory(check):\n    check()\n\n"
        "@rnn_props.parametrize(CONTRACT, **OPTIONS)\ndef test_contract(check):\n    check()\n\n"
        "@rnn_props.parametrize(make, contract=CONTRACT, **OPTIONS)\ndef test_both(check):\n    check()\n",
    )
    result.assert_outcomes(passed=4)


def test_a_target_that_can_not_be_used_is_told_in_a_line(pytester: pytest.Pytester) -> None:
    result = run(
        pytester, "@rnn_props.parametrize('models:Leeky', **OPTIONS)\ndef test_it(check):\n    check()\n", "--tb=line"
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*rnn-props cannot use models:Leeky: models has no attribute 'Leeky'; did you mean*"])


@pytest.mark.parametrize(
    ("failures", "message"),
    [
        ({"RP999": "why"}, "no check matches 'RP999'"),
        ({"RP2*": "why"}, "'RP2\\*' means .* checks; name each with its reason"),
        ({"RP201": " "}, "'RP201' needs a reason"),
        ({"RP201": "why", "state.continuity": "why"}, "RP201 is named twice"),
        ({"RP201@gpu": "why"}, "'gpu' is not a device"),
    ],
)
def test_expected_failures_that_mean_nothing_are_errors_at_once(failures: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rnn_props.parametrize("torch.nn:GRU", expected_failures=failures)
