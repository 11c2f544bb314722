"""The registry of checks: what is refused when a check is registered, and how checks are chosen."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from rnn_props.checks import Trial, UnknownCheckError, all_checks, check, get, registry, select
from rnn_props.contracts import Contract


@pytest.fixture(autouse=True)
def _registry_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_CHECKS", dict(registry._CHECKS))


def _passes() -> Callable[[Trial], None]:
    def run(t: Trial) -> None:
        """Nothing
        is asserted."""

    return run


def test_a_function_becomes_a_check_and_its_docstring_the_statement() -> None:
    run = _passes()
    assert check("XY901", "custom.nothing", hint="none")(run) is run
    made = get("XY901")
    assert (made.code, made.name, made.family, made.hint) == ("XY901", "custom.nothing", "custom", "none")
    assert made.statement == "Nothing is asserted."
    assert made.run is run
    assert made.not_applicable(Contract()) is None
    assert made in all_checks()


def test_a_check_rests_on_the_basics_but_never_on_itself() -> None:
    check("XY901", "custom.nothing", hint="none")(_passes())
    assert get("XY901").after == registry.BASICS
    check("XY902", "custom.other", hint="none", after=("XY902", "RP101"))(_passes())
    assert get("XY902").after == ("RP101",)


@pytest.mark.parametrize("code", ["", "RP20", "RP2011", "rp201", "R2201", "RP2O1 ", "RP-01"])
def test_a_malformed_code_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match=f"a check's code looks like 'RP201' \\(got {code!r}\\)"):
        check(code, "custom.nothing", hint="none")


@pytest.mark.parametrize(
    "name", ["", "continuity", "State.continuity", "state.", "state continuity", "state.two-words"]
)
def test_a_malformed_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"a check's name looks like 'state.continuity' \\(got {name!r}\\)"):
        check("XY901", name, hint="none")


@pytest.mark.parametrize(("code", "name"), [("RP201", "custom.nothing"), ("XY901", "state.continuity")])
def test_a_code_or_name_that_is_taken_is_refused(code: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"there is a check {code} or {name} already"):
        check(code, name, hint="none")


def test_a_check_without_a_docstring_is_refused() -> None:
    def silent(t: Trial) -> None:
        pass

    with pytest.raises(ValueError, match="XY901 needs a docstring: it is the check's statement"):
        check("XY901", "custom.nothing", hint="none")(silent)
    with pytest.raises(KeyError):
        get("XY901")


def test_every_check_has_a_statement_a_hint_and_rests_on_checks_that_there_are() -> None:
    codes = [item.code for item in all_checks()]
    assert codes == sorted(set(codes))
    assert set(registry.BASICS) <= set(codes)
    for item in all_checks():
        assert re.fullmatch(r"RP[0-9A-Z]\d{2}", item.code)
        assert item.statement.endswith("."), item.code
        assert item.hint.endswith("."), item.code
        assert set(item.after) <= set(codes), item.code
        assert 0 < item.share <= 3, item.code


def test_no_check_rests_on_itself_through_others() -> None:
    below: dict[str, set[str]] = {item.code: set(item.after) for item in all_checks()}
    for code in below:
        reached, waiting = set(), set(below[code])
        while waiting:
            other = waiting.pop()
            if other not in reached:
                reached.add(other)
                waiting |= below[other]
        assert code not in reached


def _codes(*patterns: str, skip: tuple[str, ...] = ()) -> list[str]:
    return [item.code for item in select(patterns, skip)]


def test_without_a_pattern_all_checks_are_chosen() -> None:
    assert select() == all_checks()


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("RP201", lambda item: item.code == "RP201"),
        ("rp201", lambda item: item.code == "RP201"),
        ("state.continuity", lambda item: item.code == "RP201"),
        ("State.Continuity", lambda item: item.code == "RP201"),
        ("RP2*", lambda item: item.code.startswith("RP2")),
        ("state.*", lambda item: item.family == "state"),
        ("RP?01", lambda item: item.code[0:2] == "RP" and item.code.endswith("01")),
        ("RP10[12]", lambda item: item.code in ("RP101", "RP102")),
        ("RP201,mode.*", lambda item: item.code == "RP201" or item.family == "mode"),
        ("RP201,", lambda item: item.code == "RP201"),
        ("*", lambda item: True),
    ],
)
def test_patterns_choose_by_code_or_name(pattern: str, chosen: Any) -> None:
    expected = [item.code for item in all_checks() if chosen(item)]
    assert expected
    assert _codes(pattern) == expected


def test_several_patterns_join_and_keep_the_order_of_codes() -> None:
    assert _codes("RP201", "RP101") == ["RP101", "RP201"]
    assert _codes("RP2*", "RP201") == _codes("RP2*")


def test_what_is_skipped_is_not_chosen() -> None:
    assert "RP201" not in _codes(skip=("RP201",))
    assert _codes("RP2*", skip=("state.*",)) == []
    assert _codes(skip=("RP1*,RP2*",)) == [item.code for item in all_checks() if item.code[2] not in "12"]


@pytest.mark.parametrize("where", ["patterns", "skip"])
def test_a_pattern_that_matches_nothing_is_an_error_that_says_what_to_write(where: str) -> None:
    with pytest.raises(UnknownCheckError) as caught:
        select(**{where: ["RP201,RX9*"]})
    assert str(caught.value) == (
        "no check matches 'RX9*'; write a code or a name, or a glob such as 'RP2*' or 'state.*' "
        "('rnn-props checks' lists them)"
    )
