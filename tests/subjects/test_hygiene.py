"""Keeping torch's global state clean, and saying what was changed."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch

from rnn_props.subjects import GlobalState, kept_clean


def _set_default_device() -> None:
    torch.set_default_device("meta")


CHANGES: dict[str, tuple[Callable[[], object], str]] = {
    "grad mode": (lambda: torch.set_grad_enabled(False), "grad mode: True before, False after"),
    "default dtype": (
        lambda: torch.set_default_dtype(torch.float64),
        "default dtype: torch.float32 before, torch.float64 after",
    ),
    "default device": (_set_default_device, "default device: cpu before, meta after"),
    "threads": (lambda: torch.set_num_threads(3), "threads: 1 before, 3 after"),
    "deterministic": (
        lambda: torch.use_deterministic_algorithms(True),
        "deterministic algorithms: False before, True after",
    ),
    "autocast": (lambda: torch.set_autocast_enabled("cpu", True), "autocast: False before, True after"),
    "anomaly": (lambda: torch.autograd.set_detect_anomaly(True), "anomaly mode: False before, True after"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_that_was_changed_is_put_back_and_named(name: str) -> None:
    change, text = CHANGES[name]
    before = GlobalState.now()
    with kept_clean():
        change()
        assert before.changes(GlobalState.now()) == [text]
    assert GlobalState.now() == before


def test_settings_are_put_back_when_the_code_raises() -> None:
    before = GlobalState.now()

    def misbehave() -> None:
        for change, _ in CHANGES.values():
            change()
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"), kept_clean():
        misbehave()
    assert GlobalState.now() == before


def test_nothing_changed_is_nothing_to_say() -> None:
    now = GlobalState.now()
    assert now.changes(GlobalState.now()) == []


def test_the_random_state_is_as_before_to_the_bit() -> None:
    before = torch.get_rng_state()
    with kept_clean():
        torch.rand(10)
        torch.manual_seed(99)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_decides_what_is_drawn_inside() -> None:
    drawn = []
    for seed in (5, 5, 6):
        torch.rand(3)
        with kept_clean(seed):
            drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_warnings_of_the_target_stay_quiet_and_filters_come_back() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with kept_clean():
            warnings.warn("from the target", stacklevel=1)
        warnings.warn("from outside", stacklevel=1)
    assert [str(item.message) for item in caught] == ["from outside"]


def test_inference_mode_is_seen() -> None:
    before = GlobalState.now()
    with torch.inference_mode():
        changes = before.changes(GlobalState.now())
    assert "inference mode: False before, True after" in changes
