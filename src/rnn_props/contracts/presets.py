"""The contracts of torch.nn's six recurrent modules, and the formula of their parameters.

Source: the documentation of torch.nn.RNN, LSTM, GRU, RNNCell, LSTMCell and GRUCell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rnn_props.contracts.capabilities import Capabilities
from rnn_props.contracts.contract import Contract
from rnn_props.contracts.domains import Domain, booleans, choices, integers, probabilities

#: Gates stacked in each weight, by module.
GATES: Mapping[str, int] = {"RNN": 1, "GRU": 3, "LSTM": 4, "RNNCell": 1, "GRUCell": 3, "LSTMCell": 4}

_SIZES: Mapping[str, Domain] = {"input_size": integers(1, 7), "hidden_size": integers(1, 7)}
_SEQUENCE: Mapping[str, Domain] = {
    **_SIZES,
    "num_layers": integers(1, 3),
    "bias": booleans(simplest=True),
    "batch_first": booleans(),
    "dropout": probabilities(0.0, 0.5),
    "bidirectional": booleans(),
}
_CELL: Mapping[str, Domain] = {**_SIZES, "bias": booleans(simplest=True)}
_NONLINEARITY = choices("tanh", "relu")

#: Every constructor argument that torch's sequence modules and cells have.
SEQUENCE_ARGUMENTS = frozenset({*_SEQUENCE, "proj_size", "nonlinearity", "device", "dtype"})
CELL_ARGUMENTS = frozenset({*_CELL, "nonlinearity", "device", "dtype"})
#: The arguments that a constructor must have to be held to torch's contract in everything.
FULL_SEQUENCE_ARGUMENTS = frozenset(_SEQUENCE)


def sequence_contract(torch_module: str, arguments: Iterable[str], *, full: bool) -> Contract:
    """The contract of `torch.nn.RNN`, `GRU` or `LSTM`, for a constructor with the given arguments.

    Args:
        torch_module: `"RNN"`, `"GRU"` or `"LSTM"`.
        arguments: the constructor's arguments.
        full: whether everything that torch's module does is promised.
    """
    names = set(arguments)
    domains: dict[str, Any] = {name: domain for name, domain in _SEQUENCE.items() if name in names}
    if torch_module == "RNN" and "nonlinearity" in names:
        domains["nonlinearity"] = _NONLINEARITY
    constraints: tuple[str, ...] = ()
    if torch_module == "LSTM" and "proj_size" in names:
        domains["proj_size"] = integers(0, 3)
        constraints = ("proj_size < hidden_size",)
    state: Any = ("L*D B P", "L*D B H") if torch_module == "LSTM" else "L*D B H"
    return Contract(
        convention="rnn",
        hyperparameters=domains,
        roles={name: name for name in domains},
        input="T B I",
        output="T B D*P",
        state=state,
        constraints=constraints,
        torch_module=torch_module,
        capabilities=Capabilities(
            batch_first="batch_first" in names,
            unbatched=full,
            packed=full,
            empty_batch=full,
            bidirectional="bidirectional" in names,
            proj="proj_size" in domains,
            output_is_state=True,
            factory={"dtype", "device"} <= names,
            torch_weights=full,
            torch_contract=full,
        ),
    )


def cell_contract(torch_module: str, arguments: Iterable[str], *, full: bool) -> Contract:
    """The contract of `torch.nn.RNNCell`, `GRUCell` or `LSTMCell`, for a constructor with the given arguments."""
    names = set(arguments)
    domains: dict[str, Any] = {name: domain for name, domain in _CELL.items() if name in names}
    if torch_module == "RNNCell" and "nonlinearity" in names:
        domains["nonlinearity"] = _NONLINEARITY
    return Contract(
        convention="cell",
        hyperparameters=domains,
        roles={name: name for name in domains},
        input="B I",
        output=None,
        state=("B H", "B H") if torch_module == "LSTMCell" else "B H",
        torch_module=torch_module,
        capabilities=Capabilities(
            unbatched=full,
            empty_batch=full,
            factory={"dtype", "device"} <= names,
            torch_weights=full,
            torch_contract=full,
        ),
    )


def torch_parameters(contract: Contract, hyperparameters: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters that torch's documentation gives, in torch's order."""
    if contract.torch_module is None:
        raise ValueError("the contract is not that of a torch module")
    gates = GATES[contract.torch_module]
    sizes = contract.sizes(hyperparameters, 1, 1)
    width, hidden, bias = gates * sizes["H"], sizes["P"], contract.role("bias", hyperparameters, True)
    if contract.convention == "cell":
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (width, sizes["I"]), "weight_hh": (width, hidden)}
        return shapes | ({"bias_ih": (width,), "bias_hh": (width,)} if bias else {})
    shapes = {}
    for layer in range(sizes["L"]):
        features = sizes["I"] if layer == 0 else sizes["D"] * sizes["P"]
        for suffix in [f"l{layer}", f"l{layer}_reverse"][: sizes["D"]]:
            shapes[f"weight_ih_{suffix}"] = (width, features)
            shapes[f"weight_hh_{suffix}"] = (width, hidden)
            if bias:
                shapes[f"bias_ih_{suffix}"] = (width,)
                shapes[f"bias_hh_{suffix}"] = (width,)
            if contract.role("proj_size", hyperparameters, 0):
                shapes[f"weight_hr_{suffix}"] = (sizes["P"], sizes["H"])
    return shapes
