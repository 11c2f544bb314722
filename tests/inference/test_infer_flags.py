"""Masks, flags of episodes and step methods: what they mean is found by calling the module."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnn_props
from rnn_props import zoo
from rnn_props.contracts import Contract, Form
from rnn_props.inference import infer_contract
from rnn_props.subjects import Factory
from rnn_props.targets import TargetError


class Episodes(nn.Module):
    """A GRU over `(T, B, I)` that is told of episodes in a way that a subclass defines."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(input_size, hidden_size)

    def run(self, x: Tensor, h: Tensor, keep: Tensor, *, after: bool = False) -> tuple[Tensor, Tensor]:
        steps = []
        for step in range(len(x)):
            h = h if after else h * keep[step]
            h = self.cell(x[step], h)
            steps.append(h)
            h = h * keep[step] if after else h
        return torch.stack(steps), h


class DoneBefore(Episodes):
    def forward(self, x: Tensor, state: Tensor, done: Tensor) -> tuple[Tensor, Tensor]:
        return self.run(x, state, (~done).unsqueeze(-1).to(x.dtype))


class DoneAfter(Episodes):
    def forward(self, x: Tensor, state: Tensor, done: Tensor) -> tuple[Tensor, Tensor]:
        return self.run(x, state, (~done).unsqueeze(-1).to(x.dtype), after=True)


class NotDone(Episodes):
    def forward(self, x: Tensor, hxs: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        return self.run(x, hxs, (1 - (1 - masks)).unsqueeze(-1))


class InAColumn(Episodes):
    def forward(self, x: Tensor, hxs: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        return self.run(x, hxs, masks.reshape(*x.shape[:2], 1)[..., :1] * masks[..., :1])


class OneStep(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(input_size, hidden_size)

    def forward(self, x: Tensor, h: Tensor, reset: Tensor) -> Tensor:
        new: Tensor = self.cell(x, torch.where(reset.unsqueeze(-1), torch.zeros_like(h), h))
        return new


class Mean(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size, batch_first=True)

    def mean(self, x: Tensor, present: Tensor) -> Tensor:
        output = self.inner(x)[0].masked_fill(~present.unsqueeze(-1), 0.0)
        return output.sum(1) / present.sum(1, keepdim=True).clamp(min=1)


class OverWhatIsNotPadding(Mean):
    def forward(self, x: Tensor, key_padding_mask: Tensor) -> Tensor:
        return self.mean(x, ~key_padding_mask)


class OverWhatIsMasked(Mean):
    """Named the other way round."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.mean(x, ~mask)


class NumbersForAMask(Mean):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        output: Tensor = self.inner(x)[0]
        weights = torch.ones_like(output[..., 0]) if mask is None else 1 - (1 - mask)
        return (output * weights.unsqueeze(-1)).sum(1) / weights.sum(1, keepdim=True).clamp(min=1)


class MaskBesideAState(nn.Module):
    """A mask of padding, though there is a state that it could clear."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(input_size, hidden_size)

    def forward(self, x: Tensor, h: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        steps = []
        for step in range(len(x)):
            h = torch.where(mask[step].unsqueeze(-1), self.cell(x[step], h), h)
            steps.append(h)
        return torch.stack(steps), h


class MaskInAColumn(Mean):
    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        if attention_mask.shape != (*x.shape[:2], 1):
            raise ValueError(f"expected a mask (B, T, 1), got {tuple(attention_mask.shape)}")
        return self.mean(x, attention_mask.squeeze(-1).bool())


class PaddedBefore(Mean):
    """Its sequences end at the last step, and padding stands before them."""

    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        h = x.new_zeros(len(x), self.inner.hidden_size)
        for step in range(x.shape[1]):
            following = self.inner(x[:, step : step + 1], h.unsqueeze(0))[0][:, 0]
            h = following if attention_mask is None else following * attention_mask[:, step, None]
        return h


class MissingInputs(nn.Module):
    """A mask of values that are missing: the state goes on, with zeros in their place."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = self.inner(x if mask is None else x * mask.unsqueeze(-1))
        return result


class SeveralEpisodesAndPadding(MaskBesideAState):
    """Both flags must be given."""

    def forward(self, x: Tensor, h: Tensor, episode_start: Tensor, padding_mask: Tensor) -> tuple[Tensor, Tensor]:
        steps = []
        for step in range(len(x)):
            h = h.masked_fill(episode_start[step].unsqueeze(-1), 0.0)
            h = torch.where(padding_mask[step].unsqueeze(-1), h, self.cell(x[step], h))
            steps.append(h)
        return torch.stack(steps), h


class WithoutRegard(Mean):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        output: Tensor = self.inner(x)[0]
        return output


class PartOfForward(nn.Module):
    """Its step takes what forward has made of the input, and is no second way to call it."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.first, self.cell = nn.Linear(d_model, d_model), nn.GRUCell(d_model, d_model)

    def step(self, u: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        new = self.cell(u, h)
        return new, new

    def forward(self, x: Tensor) -> Tensor:
        h, steps = None, []
        for u in self.first(x).unbind(1):
            output, h = self.step(u, h)
            steps.append(output)
        return torch.stack(steps, 1)


class LooksAhead(nn.Module):
    """Each output is relative to the mean of the whole sequence, which a step can't know."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(d_model, d_model)

    def step(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        new = self.cell(x, h)
        return new, new

    def forward(self, x: Tensor) -> Tensor:
        h, steps = None, []
        for each in x.unbind(1):
            output, h = self.step(each, h)
            steps.append(output)
        output = torch.stack(steps, 1)
        return output + 0.5 * (output.mean(1, keepdim=True) - output)


class ScoresTheMean(LooksAhead):
    """Forward has one output for the whole sequence, the step one for each step."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).mean(1)


class ScoresTheLast(LooksAhead):
    """The one output of forward is that of the last step."""

    def forward(self, x: Tensor) -> Tensor:
        h, output = None, x[:, 0]
        for each in x.unbind(1):
            output, h = self.step(each, h)
        return output


@pytest.mark.parametrize(
    ("target", "form"),
    [
        (DoneBefore, "start"), (DoneAfter, "end"), (NotDone, "continue float"), (InAColumn, "continue column"),
        (OneStep, "start"), (zoo.EpisodeLSTM, "start"),
    ],
)  # fmt: skip
def test_what_flags_of_episodes_mean_is_found_out(target: Any, form: str) -> None:
    contract = infer_contract(target)
    assert contract.forms == {"starts": form}
    assert contract.state is not None
    assert Contract.from_json(contract.to_json()) == contract


@pytest.mark.parametrize(
    ("target", "form"),
    [
        (OverWhatIsNotPadding, "padding mask"), (OverWhatIsMasked, "padding mask"), (NumbersForAMask, "mask float"),
        (zoo.MaskedClassifier, "mask"), (zoo.PaddingSeepsIn, "mask"), (MaskBesideAState, "mask"),
        (MaskInAColumn, "mask column"),
    ],
)  # fmt: skip
def test_what_a_mask_marks_is_found_out(target: Any, form: str) -> None:
    contract = infer_contract(target)
    assert contract.convention == "lengths"
    assert contract.forms == {"lengths": form}


def test_a_mask_of_missing_inputs_is_none_of_padding() -> None:
    contract = infer_contract(MissingInputs)
    assert (contract.convention, contract.forms) == ("model", {})
    assert any("'mask' is left out" in line for line in contract.evidence)


def test_a_mask_of_padding_before_the_sequences_is_left_out() -> None:
    contract = infer_contract(PaddedBefore)
    assert (contract.convention, contract.forms) == ("model", {})
    assert any("keeps out what stands after a row's end" in line for line in contract.evidence)


def test_two_flags_that_must_be_given_are_both_read() -> None:
    contract = infer_contract(SeveralEpisodesAndPadding)
    assert contract.forms == {"starts": "start", "lengths": "padding mask"}


@pytest.mark.parametrize("text", ["mask", "padding mask float", "mask column", "padding mask float column"])
def test_a_form_is_written_as_it_was_read(text: str) -> None:
    assert str(Form.parse("lengths", text)) == text


@pytest.mark.parametrize(
    ("what", "text"),
    [("lengths", "start"), ("state", "mask"), ("starts", "end column float"), ("lengths", "maskfloat")],
)
def test_a_form_that_there_is_not_is_refused_with_those_that_there_are(what: str, text: str) -> None:
    with pytest.raises(ValueError, match=rf"no '{what}' in the form '{text}'; there are lengths: mask, padding mask;"):
        Contract(arguments={"lengths": "mask", "starts": "done"}, forms={what: text})


def test_a_mask_that_keeps_nothing_out_is_an_error_that_says_so() -> None:
    with pytest.raises(TargetError, match="however that is read, true or false, masked steps are not"):
        infer_contract(WithoutRegard)


@pytest.mark.parametrize(
    "target",
    [
        DoneBefore,
        *(pytest.param(target, marks=pytest.mark.nightly) for target in (DoneAfter, NotDone, OneStep)),
        InAColumn,
    ],
)
def test_modules_that_heed_their_flags_pass(target: Any) -> None:
    (result,) = rnn_props.check(target, checks=("RP356",), profile="quick", seed=0).targets
    assert [(check.code, check.status) for check in result.results] == [("RP356", "passed")]


def test_a_mask_has_the_modules_own_dtype() -> None:
    contract = infer_contract(NumbersForAMask)
    subject = Factory(NumbersForAMask, contract).subject({"input_size": 2, "hidden_size": 3}, 0, dtype="float16")
    assert subject.call(torch.ones(2, 3, 2, dtype=torch.float16)).output.dtype == torch.float16


def test_a_step_method_is_known_by_what_its_first_step_gives() -> None:
    contract = infer_contract(zoo.ConvolvedRecurrence)
    assert contract.step == {
        "method": "step", "input": "B T I", "result": "output, *state", "initial": "allocate_inference_cache",
    }  # fmt: skip
    assert infer_contract(ScoresTheLast).step["method"] == "step"


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (PartOfForward, "its first step gives something else than forward"),
        (LooksAhead, "forward's outputs depend on later inputs"),
        (ScoresTheMean, "3 of its steps do not end in the one output of forward"),
    ],
)
def test_a_step_that_is_no_second_way_to_do_the_same_is_left_open(target: type[nn.Module], why: str) -> None:
    contract = infer_contract(target)
    assert not contract.step
    assert any(f"step() is not checked: {why}" in line for line in contract.evidence)
