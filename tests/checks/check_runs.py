"""Running a check in this process, case by case."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rnn_props.cases import Case
from rnn_props.checks import Discarded, Trial, Violation, get
from rnn_props.contracts import Contract
from rnn_props.execution.plans import Plans
from rnn_props.execution.profiles import PROFILES
from rnn_props.inference import infer_contract
from rnn_props.subjects import Factory, TargetRaisedError


class StateSpaceByFFT(nn.Module):
    """A diagonal state space layer: complex numbers, and a convolution by FFT, where all steps share their rounding."""

    def __init__(self, d_model: int, d_state: int = 4) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.rand(d_model) * 2 - 4)
        self.turn = nn.Parameter(torch.arange(d_state).float().repeat(d_model, 1))
        self.decay = nn.Parameter(torch.zeros(d_model, d_state))
        self.read = nn.Parameter(torch.randn(d_model, d_state, 2))

    def forward(self, x: Tensor) -> Tensor:
        length, step = x.size(1), self.step.exp()[:, None]
        pole = torch.complex(-self.decay.exp(), self.turn) * step
        weight = torch.view_as_complex(self.read) * (pole.exp() - 1) / pole
        kernel = (weight[..., None] * torch.exp(pole[..., None] * torch.arange(length))).sum(1).real
        spectrum = torch.fft.rfft(x.transpose(1, 2), 2 * length) * torch.fft.rfft(kernel, 2 * length)
        return x + torch.fft.irfft(spectrum, 2 * length)[..., :length].transpose(1, 2)


class FinishedModel(nn.Module):
    """`(B, T, I)` to `(B, O)`, with a method to override."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        self.gru = nn.GRU(input_size, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, output_size)

    def finish(self, scores: Tensor) -> Tensor:
        return scores

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(self.head(self.gru(x)[1][-1]))


def trial(target: Any, contract: Contract | None = None, **fields: Any) -> Trial:
    """A trial of one case of a target."""
    contract = contract or infer_contract(target)
    return Trial(Case(**fields), contract, Factory(target, contract))


def outcome(code: str, t: Trial) -> str:
    """How one case ends: `passed`, `discarded: REASON`, `raised: MESSAGE`, or a violation's message."""
    try:
        get(code).run(t)
    except Violation as violation:
        return violation.message
    except Discarded as discarded:
        return f"discarded: {discarded}"
    except TargetRaisedError as raised:
        return f"raised: {raised}"
    return "passed"


def trials(
    code: str, target: Any, contract: Contract | None = None, profile: str = "quick", seed: int = 0
) -> Iterator[Trial]:
    """A profile's cases, each to be run."""
    contract = contract or infer_contract(target)
    check = get(code)
    assert check.not_applicable(contract) is None
    cases = Plans(contract, PROFILES[profile], seed, None).cases(check)
    assert cases
    return (Trial(case, contract, Factory(target, contract)) for case in cases)


def outcomes(
    code: str, target: Any, contract: Contract | None = None, *, profile: str = "quick", seed: int = 0
) -> list[str]:
    """How each of a profile's cases ends."""
    return [outcome(code, t) for t in trials(code, target, contract, profile, seed)]


def finding(code: str, target: Any, contract: Contract | None = None, *, profile: str = "quick", seed: int = 0) -> str:
    """The first violation, or what was raised; "" where there is none."""
    found = (outcome(code, t) for t in trials(code, target, contract, profile, seed))
    return next((text for text in found if text != "passed" and not text.startswith("discarded")), "")


def not_applicable(code: str, contract: Contract) -> str | None:
    """Why a check does not apply."""
    return get(code).not_applicable(contract)
