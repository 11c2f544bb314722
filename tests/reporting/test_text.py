from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn_props.cases import Case, Source
from rnn_props.reporting.text import clean, counted, crop, line, number, one_line, seconds, wrap_code

SOURCES = st.builds(Source, seed=st.integers(0, 10**9), values=st.lists(st.floats(-9, 9), max_size=6).map(tuple))
CASES = st.builds(
    Case,
    hyperparameters=st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=30), max_size=5),
    seq_len=st.integers(1, 99),
    input=SOURCES,
    state=st.none() | SOURCES,
    splits=st.lists(st.integers(1, 9), max_size=9).map(tuple),
)


@given(CASES, st.integers(30, 120))
def test_wrapped_code_joined_again_is_the_code(case: Case, width: int) -> None:
    lines = wrap_code(repr(case), width)
    joined = lines[0] + "".join(f" {item[len('Case(') :]}" for item in lines[1:])
    assert joined == repr(case)


@given(CASES)
def test_wrapped_code_still_rebuilds_the_case(case: Case) -> None:
    assert eval("\n".join(wrap_code(repr(case), 40)), {"Case": Case, "Source": Source}) == case


def test_code_is_broken_at_outer_commas_and_inside_an_argument_only_where_that_is_too_long() -> None:
    code = "Case(a={'x': 1, 'y': 2}, b=(1, 2, 3), c='one, two', d={'first': 11, 'second': 22, 'third': 33})"
    assert wrap_code(code, 40) == [
        "Case(a={'x': 1, 'y': 2}, b=(1, 2, 3),",
        "     c='one, two', d={'first': 11,",
        "     'second': 22, 'third': 33})",
    ]


@given(st.text())
def test_cleaned_text_has_nothing_that_moves_a_cursor_and_can_be_encoded(text: str) -> None:
    cleaned = clean(text)
    assert all(character == "\n" or character >= " " for character in cleaned)
    assert "\x7f" not in cleaned
    assert "\x9b" not in cleaned
    cleaned.encode("utf-8")


def test_an_escape_sequence_is_shown_and_not_obeyed() -> None:
    assert clean("\x1b[31mred\r") == "\\x1b[31mred\\r"


def test_one_line_takes_all_line_breaks_away() -> None:
    assert one_line("  a\n\tb\r\n c ") == "a b c"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00 s"),
        (0.994, "0.99 s"),
        (0.996, "1.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125.0, "2 min 05 s"),
    ],
)
def test_durations_have_the_digits_that_matter(value: float, text: str) -> None:
    assert seconds(value) == text


def test_counts_have_their_thousands_apart_and_their_plural() -> None:
    assert number(2310) == "2 310"
    assert counted(1, "example") == "1 example"
    assert counted(0, "example") == "0 examples"


def test_a_cropped_text_shows_that_something_is_left_out() -> None:
    assert crop("abcdefgh", 8) == "abcdefgh"
    assert crop("abcdefghi", 8) == "abcde..."


def test_a_line_without_styles_is_its_texts_behind_its_indent() -> None:
    assert line(("RP201", "code"), " fails ", indent=2).plain == "  RP201 fails"
