"""Shape rules: the parser, the evaluation, and what a mismatch says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn_props.contracts import MEANINGS, ShapeRule, ShapeRuleError

NAMES = ("T", "B", "I", "H", "L", "D", "P", "O", "heads", "chunk_size", "n_2")
SIZES = st.fixed_dictionaries({name: st.integers(0, 9) for name in NAMES})


def _compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    joined = st.tuples(inner, st.sampled_from("+-*"), inner).map("".join)
    return joined | inner.map(lambda text: f"({text})")


#: One dimension as text: the grammar that the module's docstring gives.
DIMENSIONS = st.recursive(st.sampled_from(NAMES) | st.integers(0, 99).map(str), _compound, max_leaves=6)
RULES = st.lists(DIMENSIONS, max_size=5).map(" ".join)
LETTERS = st.lists(st.sampled_from("TBIHLDPO"), unique=True, max_size=6)


@given(RULES)
def test_a_rule_written_out_and_read_again_is_the_same_rule(text: str) -> None:
    rule = ShapeRule.parse(text)
    assert str(rule) == text
    assert ShapeRule.parse(str(rule)) == rule
    assert len(rule) == len(text.split())


@given(RULES, SIZES)
def test_a_rule_is_worth_what_python_says_it_is(text: str, sizes: dict[str, int]) -> None:
    expected = tuple(eval(part, {}, dict(sizes)) for part in text.split())
    assert ShapeRule.parse(text).shape(sizes) == expected


@given(RULES)
def test_a_rule_uses_the_names_that_stand_in_it_and_no_others(text: str) -> None:
    rule = ShapeRule.parse(text)
    rule.shape(dict.fromkeys(rule.names, 1))
    for name in rule.names:
        with pytest.raises(ShapeRuleError, match=f"shape rule uses '{name}'"):
            rule.shape(dict.fromkeys(rule.names - {name}, 1))


@given(LETTERS, st.sampled_from("TBIH"), st.sampled_from("TBIH"))
def test_two_axes_swapped_twice_are_where_they_were(letters: list[str], one: str, two: str) -> None:
    rule = ShapeRule.parse(" ".join(letters))
    assert rule.swapped(one, two).swapped(one, two) == rule
    assert rule.swapped(one, two) == rule.swapped(two, one)


@given(LETTERS, st.sampled_from("TBIH"), SIZES)
def test_a_rule_without_an_axis_keeps_all_the_others_in_order(
    letters: list[str], gone: str, sizes: dict[str, int]
) -> None:
    rule = ShapeRule.parse(" ".join(letters))
    assert rule.without(gone).shape(sizes) == tuple(sizes[letter] for letter in letters if letter != gone)
    assert rule.without(gone).axis(gone) is None


def test_the_empty_rule_is_a_scalar() -> None:
    assert ShapeRule.parse("").shape({}) == ()
    assert ShapeRule.parse("").mismatch((), {}, "loss") is None


def test_an_axis_is_a_letter_alone_and_no_product_with_it() -> None:
    rule = ShapeRule.parse("T B D*H")
    assert (rule.axis("T"), rule.axis("B"), rule.axis("H")) == (0, 1, None)
    assert rule.without("H") == rule
    assert rule.swapped("T", "H") == rule


@pytest.mark.parametrize(
    ("text", "dimension", "why"),
    [
        ("T B H!", "H!", "unexpected '!'"),
        ("T L*", "L*", "it ends too early"),
        ("(L+1 B", "(L+1", "a bracket is not closed"),
        ("L*D) B", "L*D)", r"unexpected '\)'"),
        ("T 2H", "2H", "unexpected 'H'"),
        ("T -1", "-1", "unexpected '-'"),
        ("L**D", "L**D", r"unexpected '\*'"),
        ("B H/2", "H/2", "unexpected '/'"),
    ],
)
def test_a_rule_that_cannot_be_read_says_where_and_what_to_write(text: str, dimension: str, why: str) -> None:
    with pytest.raises(ShapeRuleError, match=why) as caught:
        ShapeRule.parse(text)
    assert str(caught.value).startswith(f"cannot read dimension {dimension!r} of shape rule {text!r}: ")
    assert str(caught.value).endswith("; write dimensions separated by spaces, such as 'L*D B H'")


def test_a_name_without_a_size_is_named_together_with_those_that_have_one() -> None:
    with pytest.raises(ShapeRuleError) as caught:
        ShapeRule.parse("T Q").shape({"T": 1, "B": 2})
    assert str(caught.value) == "shape rule uses 'Q', which has no size here; known are: B, T"


def test_a_mismatch_has_rule_expected_actual_and_the_dimension_in_words() -> None:
    rule = ShapeRule.parse("L*D B H")
    sizes = {"L": 2, "D": 2, "B": 3, "H": 5}
    assert rule.mismatch((1, 3, 5), sizes, "h_n") == (
        "h_n: expected (L*D, B, H) = (4, 3, 5), got (1, 3, 5): dimension 0 is num_layers*num_directions"
    )


def test_a_rule_names_the_first_dimension_that_is_wrong() -> None:
    rule = ShapeRule.parse("T B D*P")
    sizes = {"T": 2, "B": 3, "D": 2, "P": 5}
    message = rule.mismatch((2, 4, 9), sizes, "output")
    assert message is not None
    assert message.endswith("got (2, 4, 9): dimension 1 is batch")
    message = rule.mismatch((2, 3, 9), sizes, "output")
    assert message is not None
    assert message.endswith("dimension 2 is num_directions*proj_size or hidden_size")


def test_a_wrong_number_of_dimensions_is_said_as_such() -> None:
    assert ShapeRule.parse("B").mismatch((3, 1), {"B": 3}, "lengths") == (
        "lengths: expected (B,) = (3,), got (3, 1): it has 2 dimensions, not 1"
    )


@given(RULES, SIZES, st.lists(st.integers(0, 9), max_size=5))
def test_a_mismatch_is_reported_exactly_where_the_shapes_differ(
    text: str, sizes: dict[str, int], actual: list[int]
) -> None:
    rule = ShapeRule.parse(text)
    assert rule.mismatch(rule.shape(sizes), sizes, "x") is None
    assert (rule.mismatch(actual, sizes, "x") is None) == (tuple(actual) == rule.shape(sizes))


def test_every_letter_has_a_meaning_and_other_names_stand_for_themselves() -> None:
    rule = ShapeRule.parse("T B I H L D P O heads")
    assert [dimension.meaning for dimension in rule.dimensions] == [*MEANINGS.values(), "heads"]
