"""Which of two neighbouring checks says what: one bug, one charge."""

from __future__ import annotations

import pytest
from check_runs import finding, outcomes

from rnn_props import zoo


def _bugs(code: str) -> list[str]:
    return [bug.name for bug in zoo.BUGS.values() if bug.code == code]


@pytest.mark.parametrize("name", [name for name in _bugs("RP202") if not hasattr(zoo.BUGS[name].module, "step")])
def test_what_only_single_steps_get_wrong_is_left_to_stepwise(name: str) -> None:
    target = zoo.BUGS[name].module
    ends = outcomes("RP201", target)
    assert set(ends) <= {"passed", "discarded: chunks of one step alone differ: RP202 holds that"}
    assert finding("RP202", target).startswith("step by step: ")


@pytest.mark.parametrize("name", _bugs("RP201"))
def test_what_chunks_of_any_length_get_wrong_is_charged_as_such(name: str) -> None:
    assert "in chunks cut at " in finding("RP201", zoo.BUGS[name].module, profile="default")


@pytest.mark.parametrize("name", _bugs("RP302"))
def test_what_only_the_order_of_rows_gets_wrong_is_left_to_permutation(name: str) -> None:
    target = zoo.BUGS[name].module
    ends = outcomes("RP301", target, profile="default")
    assert all(end == "passed" or end.startswith("discarded: ") for end in ends)
    assert "discarded: only the order of rows or a row's place is wrong: RP302 holds that" in ends
    assert finding("RP302", target, profile="default").startswith("batch in the order ")


@pytest.mark.parametrize("name", _bugs("RP301"))
def test_rows_that_are_mixed_are_charged_as_such(name: str) -> None:
    text = finding("RP301", zoo.BUGS[name].module, profile="default")
    assert text.startswith(("batch row ", "other rows after a change in row "))
