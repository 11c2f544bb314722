"""Batch and time: what batch_first exchanges, and what it does not."""

from __future__ import annotations

import pytest
from check_runs import StateSpaceByFFT, finding, outcomes
from torch import Tensor, nn


class LastStep(nn.Module):
    """A classifier of the last step, in either layout: `(T, B, I)` or `(B, T, I)` to `(B, O)`."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int, batch_first: bool = False) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.rnn = nn.GRU(input_size, hidden_size, batch_first=batch_first)
        self.head = nn.Linear(hidden_size, output_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[1][-1])  # type: ignore[no-any-return]


class LastRow(LastStep):
    """The same, which reads the last row for the last step where batch_first is off."""

    def forward(self, x: Tensor) -> Tensor:
        output = self.rnn(x)[0]
        return self.head(output[:, -1] if self.batch_first else output.transpose(0, 1)[:, 0])  # type: ignore[no-any-return]


def test_batch_first_leaves_an_output_without_a_time_axis_as_it_is() -> None:
    assert set(outcomes("RP303", LastStep)) == {"passed"}


def test_a_classifier_that_differs_between_the_layouts_is_found() -> None:
    assert finding("RP303", LastRow)


class LooksAhead(StateSpaceByFFT):
    """The same, which leaks a millionth of what comes next."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 1e-6 * nn.functional.pad(x[:, 1:], (0, 0, 0, 1)))


@pytest.mark.parametrize("seed", range(3))
def test_what_an_fft_rounds_at_earlier_steps_is_no_look_ahead(seed: int) -> None:
    assert set(outcomes("RP304", StateSpaceByFFT, profile="default", seed=seed)) == {"passed"}
    assert finding("RP304", LooksAhead, profile="default", seed=seed)
