"""Every check has a page that helps whoever it accuses, and a bug that shows that it checks something."""

from __future__ import annotations

import re

import pytest

from rnn_props.checks import Check, all_checks
from rnn_props.checks.registry import Page, read_page
from rnn_props.zoo import BUGS

CHECKS = [pytest.param(item, id=item.code) for item in all_checks()]
CODES = {item.code for item in all_checks()}


def texts(check: Check) -> list[str]:
    return [check.page.statement, check.page.why, *check.page.causes, check.page.fix, check.hint]


@pytest.mark.parametrize("check", CHECKS)
def test_a_page_says_why_the_rule_matters_what_breaks_it_and_how_to_fix_that(check: Check) -> None:
    assert check.page.why
    assert len(check.page.causes) >= 2
    assert check.page.fix


@pytest.mark.parametrize("check", CHECKS)
def test_the_zoo_has_a_bug_for_the_check(check: Check) -> None:
    assert [bug.name for bug in BUGS.values() if bug.code == check.code]


@pytest.mark.parametrize("check", CHECKS)
def test_a_page_is_well_formed(check: Check) -> None:
    assert len(set(check.page.causes)) == len(check.page.causes)
    for text in filter(None, texts(check)):
        assert text.count("`") % 2 == 0, text
        assert not re.search(r"\b(Why|Causes?|Fix|Fixes|Hint):", text), "a section's head inside of another one"
        assert set(re.findall(r"\bRP\w{3}\b", text)) <= CODES


def test_a_docstring_is_read_as_a_statement_and_sections() -> None:
    page = read_page(
        """Results are
        the same.

        Why: users compare: them.
            They do.
        Causes:
        - `x.view(...)` where a
          transpose is meant
        - c forgotten
        Fix: transpose, and
        say so!
        """
    )
    assert page == Page(
        statement="Results are the same.",
        why="Users compare: them. They do.",
        causes=("`x.view(...)` where a transpose is meant.", "c forgotten."),
        fix="Transpose, and say so!",
    )


def test_a_docstring_without_sections_is_a_statement_alone() -> None:
    assert read_page("Nothing is asserted.") == Page("Nothing is asserted.")
