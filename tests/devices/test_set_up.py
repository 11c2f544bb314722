"""Setting the simulated device up: once, when asked, at any time, without a trace in what the CPU does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rnn_props
from rnn_props.devices import mistakes

SOURCE = Path(rnn_props.__file__).parent.parent


def _run(code: str, **environment: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", f"import torch\ntorch.set_num_threads(1)\nfrom rnn_props.devices import sim\n{code}"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(SOURCE), **environment}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_sets_nothing_up_and_the_environment_says_how_it_starts() -> None:
    told = _run(
        """
from rnn_props.devices import available
print(sim.is_set_up(), sim.why_not(), torch._C._get_privateuse1_backend_name(), [d.name for d in available()][:2])
try:
    torch.zeros(2, device="sim")
except RuntimeError:
    print("no sim")
sim.set_up()
sim.set_up()
print(sim.is_set_up(), torch.zeros(2, device="sim").device)
print((torch.arange(4.0).view(2, 2).to("sim") @ torch.eye(2, device="sim")).tolist())
""",
        RNN_PROPS_SIM_WRONG="transposed",
    )
    assert told.splitlines() == [
        "False None privateuseone ['cpu', 'sim']",
        "no sim",
        "True sim:0",
        "[[0.0, 2.0], [1.0, 3.0]]",
    ]


UNDISTURBED = """
import copy, io, pickle
import torch.nn.functional as F
from torch import nn

def results():
    torch.manual_seed(3)
    found = [torch.rand(3), torch.randn(2), F.dropout(torch.ones(9), 0.5)]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        found.append(torch.rand(2))
    found += [torch.rand(1), torch.get_rng_state()]
    for cls in (nn.RNN, nn.GRU, nn.LSTM, nn.GRUCell, nn.LSTMCell):
        module = cls(3, 4)
        x = torch.randn(5, 3, requires_grad=True)
        result = module(x)
        (result if isinstance(result, torch.Tensor) else result[0]).square().sum().backward()
        found += [x.grad, *(item.grad for item in module.parameters())]
        weight = next(module.parameters())
        assert next(module.double().parameters()) is weight
        found += [*nn.DataParallel(module).parameters()]
        found += [item for item in copy.deepcopy(module).state_dict().values()]
        found += [item for item in pickle.loads(pickle.dumps(module.state_dict())).values()]
    saved = io.BytesIO()
    torch.save(found[:3], saved)
    saved.seek(0)
    found += torch.load(saved)
    storages = torch.UntypedStorage([1, 2, 3]), torch.ones(2).untyped_storage()
    found += [torch.tensor(storage.clone().tolist()) for storage in storages]
    found += [torch.ones(2).to_sparse().to_dense(), torch.from_dlpack(torch.arange(3))]
    found += [torch.from_numpy(torch.ones(2).numpy())]
    found += [torch.empty(3, device="meta").expand(2, 3).new_zeros(1, device="cpu")]
    return found

def settings():
    return (
        torch.get_default_device(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(),
        torch.is_autocast_enabled("cpu"), torch.are_deterministic_algorithms_enabled(), torch.zeros(1).device,
        torch.__future__.get_swap_module_params_on_conversion(), nn.Linear(1, 1).weight.device,
    )

before, were = results(), settings()
sim.set_up()
torch.zeros(2, device="sim").add_(1)
after, are = results(), settings()
print([(a, b) for a, b in zip(were, are) if a != b])
print(len(before) == len(after), all(torch.equal(a, b) for a, b in zip(before, after)))
x = torch.ones(3, device="sim", requires_grad=True)
x.sum().backward()
print(x.grad.tolist())
import torch._dynamo
compiled = torch.compile(nn.GRUCell(3, 4), backend="eager", fullgraph=True)
print(compiled(torch.ones(2, 3)).shape)
print(compiled.to("sim")(torch.ones(2, 3, device="sim")).device)
"""


def test_cpu_code_and_the_compiler_do_the_same_before_and_after() -> None:
    assert _run(UNDISTURBED).splitlines() == ["[]", "True True", "[1.0, 1.0, 1.0]", "torch.Size([2, 4])", "sim:0"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_children_have_the_device_if_they_or_their_parent_set_it_up() -> None:
    told = _run(
        """
import os

def in_a_child(run):
    child = os.fork()
    if child == 0:
        run()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

def use():
    module = torch.nn.LSTM(2, 3).to("sim")
    module(torch.ones(4, 2, device="sim"))[0].sum().backward()
    print(module.weight_ih_l0.grad.device, flush=True)

def set_up_and_use():
    sim.set_up()
    use()

torch.ones(2, requires_grad=True).sum().backward()
in_a_child(set_up_and_use)
in_a_child(set_up_and_use)
print(sim.is_set_up(), flush=True)
set_up_and_use()
in_a_child(use)
in_a_child(set_up_and_use)
"""
    )
    assert told.splitlines() == ["sim:0", "sim:0", "False", "sim:0", "sim:0", "sim:0"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_children_of_a_parent_that_used_it_first_have_it_too() -> None:
    told = _run(
        """
import os
sim.set_up()
w = torch.ones(2, device="sim", requires_grad=True)
w.sum().backward()
child = os.fork()
if child == 0:
    w.square().sum().backward()
    print(w.grad.tolist(), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    )
    assert told.splitlines() == ["[3.0, 3.0]"]


def test_the_environment_names_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mistakes.VARIABLE, "tf32")
    mistakes.set_from_environment()
    assert mistakes.current == "tf32"
    monkeypatch.setenv(mistakes.VARIABLE, "tf16")
    with pytest.raises(ValueError, match=r"^RNN_PROPS_SIM_WRONG: kind must be one of tf32, .* \(got 'tf16'\)$"):
        mistakes.set_from_environment()


def test_the_devices_module_answers_what_device_agnostic_code_asks() -> None:
    module = torch.get_device_module("sim")
    assert module is torch.sim  # type: ignore[attr-defined]
    assert module.is_available()
    assert (module.device_count(), module.current_device(), module.is_initialized()) == (1, 0, True)
    module.synchronize()
    module.empty_cache()
    module.manual_seed(1)
    module.set_device("sim:0")
    with module.device(0):
        state = module.get_rng_state()
        first = torch.rand(2, device="sim")
    module.set_rng_state(state)
    assert torch.equal(first, torch.rand(2, device="sim"))
    with pytest.raises(RuntimeError, match=r"^1: there is one device, sim:0$"):
        module.set_device(1)
