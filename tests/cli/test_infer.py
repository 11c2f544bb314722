"""`rnn-props infer`: the contract with its evidence, as text, TOML and Python, and the adapter's stub."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rnn_props.cli import cli
from rnn_props.contracts import from_toml

ROOT = Path(__file__).resolve().parents[2]
STACK = f"{ROOT}/examples/stacked_sizes.py:StackedLSTM"


def infer(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["infer", *arguments], prog_name="rnn-props")


def test_the_contract_is_shown_with_its_evidence_and_how_to_keep_it() -> None:
    outcome = infer("rnn_props.zoo:TimeFirstGRU")
    assert outcome.exit_code == 0
    text = " ".join(outcome.stdout.split())
    assert "model: input (T, B, I) -> output (T, B, O), no state" in text
    assert "a change in one row of the second axis shows in that row of the output alone: the batch" in text
    assert "checks apply to it" in text
    assert "rnn-props infer rnn_props.zoo:TimeFirstGRU --toml" in text


def test_toml_is_a_table_that_is_read_back_as_the_same_contract() -> None:
    table = tomllib.loads(infer(STACK, "--toml").stdout)["tool"]["rnn_props"]["targets"][STACK]["contract"]
    contract = from_toml(table)
    assert (contract.input, contract.output) == ("B T I", "B T H")
    values = {"input_size": 3, "hidden_sizes": (2, 6, 3)}
    rules, sizes = contract.rules(values), contract.sizes(values, 5, 4)
    assert [[rule.shape(sizes) for rule in pair] for pair in rules.state] == [
        [(1, 4, 2)] * 2, [(1, 4, 6)] * 2, [(1, 4, 3)] * 2,
    ]  # fmt: skip


def test_python_is_a_contract_to_paste() -> None:
    text = infer("rnn_props.zoo:RNNTagger", "--python").stdout
    assert text.startswith("from rnn_props.zoo import RNNTagger\nfrom rnn_props import Capabilities, Contract\n")
    compile(text, "pasted.py", "exec")


UNUSUAL = """
import torch
from torch import nn


class Unusual(nn.Module):
    def __init__(self, input_size, units):
        super().__init__()
        self.inner = nn.GRU(input_size, units, batch_first=True)

    def forward(self, x, gain, carry=None):
        output, h = self.inner(x * gain, carry)
        return {"scores": output, "final": h}
"""


def test_what_is_missing_is_named_a_stub_is_written_and_a_few_lines_settle_it(tmp_path: Path) -> None:
    module, adapter = tmp_path / "unusual_module.py", tmp_path / "unusual_adapter.py"
    module.write_text(UNUSUAL, encoding="utf-8")
    target = f"{module}:Unusual"
    refused = CliRunner().invoke(cli, ["infer", target], standalone_mode=False)
    assert "its forward needs 'gain' beside the input" in str(refused.exception)
    assert "infer --adapter FILE" in str(refused.exception)

    written = infer(target, "--adapter", str(adapter))
    assert written.exit_code == 0
    assert "is written: fill it in" in written.stdout
    text = adapter.read_text(encoding="utf-8")
    compile(text, str(adapter), "exec")
    text = text.replace(
        "return module(input) if state is None else module(input, state)", "return module(input, 1.0, state)"
    ).replace("output, state = value\n        return output, state", 'return value["scores"], value["final"]')
    adapter.write_text(text, encoding="utf-8")

    settled = infer(target, "--adapter", str(adapter))
    assert settled.exit_code == 0, settled.output
    assert "input (B, T, I) -> output (B, T, H), state '1 B H'" in " ".join(settled.stdout.split())


@pytest.mark.slow
def test_a_module_is_checked_through_its_adapter(tmp_path: Path) -> None:
    module, adapter = tmp_path / "other_module.py", tmp_path / "other_adapter.py"
    module.write_text(UNUSUAL, encoding="utf-8")
    adapter.write_text(
        "from rnn_props import Adapter\n\n\nclass ADAPTER(Adapter):\n"
        "    def call(self, module, input, state):\n        return module(input, 1.0, state)\n\n"
        "    def split_state(self, value):\n        return value['scores'], value['final']\n",
        encoding="utf-8",
    )
    command = ["check", f"{module}:Unusual", "--adapter", str(adapter), "--checks", "RP101,RP102,RP201,RP205,RP301"]
    outcome = CliRunner().invoke(cli, [*command, "--profile", "quick"], standalone_mode=False)
    assert outcome.return_value == 0, outcome.output
    assert outcome.output.count("passed ") >= 5
