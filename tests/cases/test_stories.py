"""Stories: what the state machine tells, and how a story shrinks."""

from __future__ import annotations

import pytest
from torch_contracts import CONTRACTS

from rnn_props.cases import Case, Needs, shrink
from rnn_props.cases.stories import MOST_STEPS, MOST_STREAMS, draw_stories
from rnn_props.cases.strategies import draw_cases

#: What a rule of the state machine does, by the step that it writes down.
KINDS = {"begin", "feed", "fork", "reset", "reorder", "drop", "train", "load", "move", "reject"}


def test_stories_begin_feed_and_between_them_do_everything() -> None:
    stories = draw_stories(0, 60)
    assert len(stories) == 60
    assert {kind for story in stories for kind, _, _ in story} == KINDS
    for story in stories:
        assert story[0][0] == "begin"
        assert any(kind == "feed" for kind, _, _ in story)
        assert len(story) <= MOST_STEPS + 1
        assert sum(kind in ("begin", "fork") for kind, _, _ in story) <= MOST_STREAMS


def test_no_story_uses_a_stream_before_it_has_begun() -> None:
    for story in draw_stories(1, 30):
        streams = 0
        for kind, stream, _ in story:
            streams += kind in ("begin", "fork")
            assert stream < max(streams, 1)


@pytest.mark.parametrize("ci", ["", "true"])
def test_the_same_seed_tells_the_same_stories_under_ci_too(ci: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = draw_stories(3, 10)
    monkeypatch.setenv("CI", ci)
    assert draw_stories(3, 10) == expected
    assert draw_stories(4, 10) != expected


def test_a_story_survives_json_and_shrinks_to_the_steps_that_matter() -> None:
    contract, needs = CONTRACTS["GRU"], Needs(story=True)

    def fails(case: Case) -> bool:
        kinds = [kind for kind, _, _ in case.story]
        return "fork" in kinds and "feed" in kinds[kinds.index("fork") :]

    plain = draw_cases(contract, needs, seed=0, count=1)[0]
    case = next(case for story in draw_stories(0, 40) if fails(case := _with(plain, story)))
    assert Case.from_json(case.to_json()) == case
    shrinker = shrink(case, contract, needs, budget=300)
    answer = None
    while True:
        try:
            answer = fails(shrinker.send(answer))  # type: ignore[arg-type]
        except StopIteration as end:
            smallest = end.value
            break
    assert smallest.story == (("fork", 0, 0), ("feed", 0, 0))


def _with(case: Case, story: object) -> Case:
    return Case.from_json({**case.to_json(), "story": [list(step) for step in story]})  # type: ignore[attr-defined]
