"""What a module and its callers agree on. Pure data: it goes to worker processes as JSON."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from rnn_props.contracts.capabilities import Capabilities
from rnn_props.contracts.domains import Domain, Value
from rnn_props.contracts.forms import Form
from rnn_props.contracts.shapes import ShapeRule
from rnn_props.contracts.structures import (
    Rules,
    Structure,
    map_structure,
    parse_structure,
    read_result,
    structure_from_json,
    structure_to_json,
)
from rnn_props.targets import TargetError, load, name_of, parse

CONVENTIONS = ("rnn", "cell", "model", "lengths", "stateful")
#: How sentences of a contract's evidence begin that say what was not settled.
OPEN = "open: "
#: Letters of shape rules that stand for the value of one hyperparameter: its role.
SIZE_LETTERS: Mapping[str, str] = {"I": "input_size", "H": "hidden_size", "O": "output_size", "V": "vocab_size"}
_ARGUMENTS = ("lengths", "state", "time_spans", "starts")

#: What an argument of a constructor means, by the names that people give it. The first of each row is the role.
ROLE_NAMES: Mapping[str, tuple[str, ...]] = {
    "input_size": (
        "input_size", "input_dim", "n_in", "d_in", "in_features", "in_channels", "nb_input", "dim", "d_model",
        "feat_size", "embed_dim", "n_inputs", "num_features", "n_features", "in_dim", "input_channels", "in_feats",
        "channels", "embedding_dim", "emb_dim", "embed_size", "embedding_size", "emb_size", "ninp", "n_embd", "d_embed",
        "c_in", "n_inp", "nin", "n_input", "num_input", "num_inputs", "in_size", "inp_size", "inp_dim", "dim_in",
        "idim", "input_features", "features", "feature_dim", "feature_size", "feat_dim", "model_dim", "x_dim",
        "obs_dim", "obs_size",
    ),
    "hidden_size": (
        "hidden_size", "hidden_dim", "hidden_channels", "units", "n_hidden", "hid_dim", "d_hidden", "nb_units",
        "rnn_size", "cell_size", "state_size", "num_hidden", "hidden_sizes", "hidden_dims", "layer_sizes",
        "hidden_layers", "rnn_hidden_size", "hidden_units", "state_features", "state_dim", "d_state", "num_units",
        "n_units", "num_neurons", "head_size", "head_dim", "hidden_features", "n_state", "dim_hidden", "nhid", "n_hid",
        "hid_size", "d_hid", "num_hiddens", "n_hiddens", "hidden", "h_dim", "hdim", "h_size", "rnn_dim", "rnn_units",
        "rnn_hidden", "rnn_hidden_dim", "lstm_size", "lstm_units", "lstm_hidden_size", "lstm_hidden_dim", "gru_size",
        "gru_units", "gru_hidden_size", "gru_hidden_dim",
    ),
    "num_layers": (
        "num_layers", "n_layers", "nb_layers", "depth", "layers", "num_rnn_layers", "nlayers", "n_layer", "num_layer",
        "layer_dim", "rnn_layers", "n_rnn_layers", "lstm_layers", "num_lstm_layers", "gru_layers", "num_gru_layers",
        "num_blocks", "n_blocks",
    ),
    "output_size": (
        "output_size", "output_dim", "num_classes", "n_out", "out_features", "n_classes", "out_dim", "out_channels",
        "num_outputs", "n_outputs", "d_out", "dim_out", "num_labels", "n_labels", "tagset_size", "num_tags", "c_out",
        "nout", "n_output", "num_output", "out_size", "odim", "output_features", "num_class", "n_class", "nclass",
        "target_size", "num_targets", "n_targets", "label_size", "y_dim", "action_dim", "act_dim", "n_actions",
        "num_actions", "latent_dim", "latent_size",
    ),
    "vocab_size": (
        "vocab_size", "num_embeddings", "n_vocab", "vocabulary_size", "n_tokens", "num_tokens", "ntoken", "ntokens",
        "n_token", "n_chars", "num_chars", "num_words", "n_words", "vocab", "input_vocab_size", "src_vocab_size",
        "voc_size", "vocab_dim", "dictionary_size", "dict_size", "alphabet_size",
    ),
    "bias": ("bias",),
    "batch_first": ("batch_first",),
    "dropout": ("dropout", "dropout_rate"),
    "bidirectional": ("bidirectional", "bidir", "is_bidirectional", "bi_directional"),
    "proj_size": ("proj_size",),
    "nonlinearity": ("nonlinearity",),
}  # fmt: skip


class ContractError(Exception):
    """A contract that can't be used as it is written. The message says what was wrong and what to write instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """How to build a module, how to call it, which shapes go in and come out, and what it can do.

    Attributes:
        build: what is called with the hyperparameters as keywords. None in a contract that came through JSON: the
            subject then builds the target itself.
        hyperparameters: the domain of each constructor argument that is varied; a Hypothesis strategy may stand in
            place of a `Domain`.
        fixed: constructor arguments that always have the same value.
        roles: for each role (`input_size`, `hidden_size`, ...) the constructor argument that plays it.
        convention: `rnn` `(input, state?) -> (output, state)`, `cell` `(input, state?) -> state`, `model`
            `(input) -> output`, `lengths` `(input, lengths, state?) -> output | (output, state)`, or `stateful`
            `(input) -> output` with a state that is kept until it is reset; or an adapter (`rnn_props.Adapter`), an
            object at the top level of a module or the text `"module:NAME"`, that says how to build and call.
        arguments: the names of forward's arguments that are passed by keyword, by what they are: `lengths` (each row's
            length, int64 of shape `(B,)`), `time_spans` (the time between steps, `(B, T)` or `(T, B)` as the input
            is; left out by all checks but RP310), `starts` (where an episode begins, `(T, B)` or `(B, T)` as the input
            is, `(B,)` for a cell; no episode begins in all checks but RP356) and `state` (several names, with spaces
            between, where each member of the state is an argument of its own).
        forms: how arguments go in, where that is not the usual way: `lengths` as a `mask` that is true at a row's
            steps, or as a `padding mask` that is true beyond them; `starts` as a flag that is true at the first step
            of an episode (`start`), false there and true elsewhere (`continue`), or true at the last step before it
            (`end`). A following `float` stands for numbers in place of bools, `column` for a last axis of size 1.
        keywords: further arguments of forward, each always passed with this value, such as `{"return_state": True}`.
        result: what the parts of a returned tuple are, such as `"output, *state"`, or which fields of a returned object
            are output and state, such as `"y=output, cache=state"`; "" for the convention's own form.
        vocabulary: where the input is token ids, how many there are: a number, or the hyperparameter that says it; None
            where the input is real numbers. The input's rule has no axis of features then. Checks go on drawing real
            numbers, from which the ids are made where the module is called (see `rnn_props.subjects.token_ids`).
        step: the method that makes one step, beside a forward that takes whole sequences; empty where there is none.
            `method` is its name, `input` the shape rule of what it takes, such as `"B I"`, `result` what it returns,
            as above, and `initial` the method that makes the first state for a number of rows, if one is needed.
        padding: what the output has beyond a row's length, or None where nothing is agreed.
        reset: the method that makes a stateful module forget; it takes no argument.
        input, output, state: shape rules; the state is any pytree of them, or None.
        constraints: conditions between hyperparameters, such as `"proj_size < hidden_size"`.
        torch_module: the torch.nn class of the same contract, such as `"LSTM"`.
        reference: what the module must agree with: a `torch.nn.Module` class, built with the same hyperparameters and
            given the module's weights, or a function `(module, input, state) -> results` that reads them itself.
            Worker processes import it, so it stands at the top level of a module; the text `"module:name"` serves, too.
        reference_weights: for parameters of the reference the names that they have in the module, where those differ;
            or a function from the module's parameters and buffers to the reference's, by name.
        rejects: the exception types that count as a rejection.
        tolerance: a factor on the difference that rounding is allowed to make (docs/tolerance.md).
        evidence: from what the contract was concluded, in sentences.
    """

    build: Callable[..., Any] | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Value] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    convention: Any = "rnn"
    arguments: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, str] = field(default_factory=dict)
    keywords: Mapping[str, Value] = field(default_factory=dict)
    result: str = ""
    vocabulary: int | str | None = None
    step: Mapping[str, str] = field(default_factory=dict)
    padding: float | None = None
    reset: str = ""
    input: str = "T B I"
    output: str | None = "T B D*P"
    state: Structure = None
    capabilities: Capabilities = field(default_factory=Capabilities)
    constraints: tuple[str, ...] = ()
    torch_module: str | None = None
    reference: Callable[..., Any] | str | None = None
    reference_weights: Mapping[str, str] | Callable[[dict[str, Any]], Mapping[str, Any]] | str = field(
        default_factory=dict
    )
    rejects: tuple[type[BaseException], ...] = (Exception,)
    logic_dtype: str = "float64"
    tolerance: float = 1.0
    evidence: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.adapter is None and self.convention not in CONVENTIONS:
            raise ValueError(
                f"convention must be one of {', '.join(CONVENTIONS)}, or an adapter (got {self.convention!r})"
            )
        if self.convention == "lengths" and "lengths" not in self.arguments:
            raise ValueError("convention 'lengths' needs arguments={'lengths': NAME}: the name of forward's argument")
        if self.convention == "stateful" and not self.reset:
            raise ValueError("convention 'stateful' needs reset=NAME: the method that makes the module forget")
        unknown = sorted(set(self.arguments) - set(_ARGUMENTS))
        if unknown:
            raise ValueError(f"arguments has names for {', '.join(_ARGUMENTS)} (got one for {unknown[0]!r})")
        for what, form in self.forms.items():
            Form.parse(what, form)
        if self.result:
            read_result(self.result)
        if self.step:
            if not {"method", "input"} <= set(self.step) <= {"method", "input", "result", "initial"}:
                raise ValueError(
                    "step has 'method' and 'input', and may have 'result' and 'initial' (got "
                    f"{', '.join(map(repr, self.step))})"
                )
            ShapeRule.parse(self.step["input"])
            read_result(self.step.get("result", "output, state"))
        if not (isinstance(self.tolerance, int | float) and 0 < self.tolerance < math.inf):
            raise ValueError(f"tolerance must be a positive number (got {self.tolerance!r})")
        ShapeRule.parse(self.input)
        if self.output is not None:
            ShapeRule.parse(self.output)
        parse_structure(self.state)
        for constraint in self.constraints:
            _read_constraint(constraint)

    @property
    def adapter(self) -> Any:
        """The adapter, or the text that it can be imported by; None where the convention is one of the known ones."""
        is_known = isinstance(self.convention, str) and ":" not in self.convention
        return None if is_known else self.convention

    @property
    def one_step(self) -> bool:
        """Whether a call is a single step: a cell."""
        return "T" not in self.input.split()

    def form(self, what: str) -> Form | None:
        """The form in which `lengths` or `starts` go into a call; None where they go in the usual way."""
        return Form.parse(what, self.forms[what]) if what in self.forms else None

    def role(self, role: str, hyperparameters: Mapping[str, Any], default: Any = None) -> Any:
        """The value of the hyperparameter that plays a role, or the default where there is none."""
        name = self.roles.get(role)
        return default if name is None else hyperparameters.get(name, default)

    def sizes(self, hyperparameters: Mapping[str, Any], seq_len: int, batch: int) -> dict[str, int]:
        """What every letter and hyperparameter name of the shape rules stands for.

        Raises:
            nothing: a letter without a value is simply missing, and a rule that uses it says so.

        Of a hyperparameter that lists sizes, `NAME_0`, `NAME_1`, ... are the single ones.
        """
        sizes = {name: value for name, value in hyperparameters.items() if type(value) is int}
        for name, value in hyperparameters.items():
            if isinstance(value, tuple | list):
                sizes |= {f"{name}_{index}": item for index, item in enumerate(value) if type(item) is int}
        for letter, role in SIZE_LETTERS.items():
            value = self.role(role, hyperparameters)
            if isinstance(value, tuple | list) and value:
                value = value[-1]  # the width of the last layer is what comes out
            if type(value) is int:
                sizes[letter] = value
        widths = self.role("hidden_size", hyperparameters)
        layers = len(widths) if isinstance(widths, tuple | list) else 1
        sizes["L"] = self.role("num_layers", hyperparameters, layers)
        sizes["D"] = 2 if self.role("bidirectional", hyperparameters, False) else 1
        if "H" in sizes:
            sizes["P"] = self.role("proj_size", hyperparameters, 0) or sizes["H"]
        sizes["T"] = seq_len
        sizes["B"] = batch
        return sizes

    def tokens(self, hyperparameters: Mapping[str, Any]) -> int | None:
        """How many token ids there are under these hyperparameters; None where the input is real numbers."""
        if isinstance(self.vocabulary, str):
            return int({**self.fixed, **hyperparameters}[self.vocabulary])
        return self.vocabulary

    def rules(self, hyperparameters: Mapping[str, Any], *, batched: bool = True) -> CallRules:
        """The shape rules of one call under these hyperparameters: axes ordered, the batch left out if unbatched."""
        input_rule = ShapeRule.parse(self.input)
        output_rule = None if self.output is None else ShapeRule.parse(self.output)
        state = parse_structure(self.state, self.sizes(hyperparameters, 1, 1))
        if self.role("batch_first", hyperparameters, False):
            input_rule = input_rule.swapped("T", "B")
            output_rule = None if output_rule is None else output_rule.swapped("T", "B")
        if not batched:
            input_rule = input_rule.without("B")
            output_rule = None if output_rule is None else output_rule.without("B")
            state = map_structure(lambda rule: rule.without("B"), state)
        return CallRules(input_rule, output_rule, state)

    def broken_constraint(self, hyperparameters: Mapping[str, Any]) -> str | None:
        """The first constraint that these hyperparameters do not meet, or None."""
        for constraint in self.constraints:
            left, relation, right = _read_constraint(constraint)
            one, two = (hyperparameters.get(side, int(side) if side.isdigit() else None) for side in (left, right))
            if isinstance(one, int) and isinstance(two, int) and not _RELATIONS[relation](one, two):
                return constraint
        return None

    def with_evidence(self, *sentences: str) -> Contract:
        return replace(self, evidence=self.evidence + sentences)

    def to_json(self) -> dict[str, Any]:
        """The contract as JSON data, without what only the process that built it can use.

        Raises:
            TargetError: the reference, its weights or an exception type has no name that another process could import
                it by.
        """
        return {
            "convention": self.convention if self.adapter is None else adapter_name(self.adapter),
            "arguments": dict(self.arguments),
            "forms": dict(self.forms),
            "keywords": {name: _value_to_json(value) for name, value in self.keywords.items()},
            "result": self.result,
            "vocabulary": self.vocabulary,
            "step": dict(self.step),
            "padding": self.padding,
            "reset": self.reset,
            "input": self.input,
            "output": self.output,
            "state": structure_to_json(self.state),
            "hyperparameters": {
                name: {"kind": domain.kind, "values": [_value_to_json(value) for value in domain.values]}
                if isinstance(domain, Domain)
                else {"kind": "free", "strategy": repr(domain)}
                for name, domain in self.hyperparameters.items()
            },
            "fixed": {name: _value_to_json(value) for name, value in self.fixed.items()},
            "roles": dict(self.roles),
            "constraints": list(self.constraints),
            "capabilities": {
                item.name: list(value) if isinstance(value := getattr(self.capabilities, item.name), tuple) else value
                for item in fields(Capabilities)
            },
            "torch_module": self.torch_module,
            "reference": None if self.reference is None else _importable(self.reference, "reference"),
            "reference_weights": dict(self.reference_weights)
            if isinstance(self.reference_weights, Mapping)
            else _importable(self.reference_weights, "reference_weights"),
            "rejects": [_importable(kind, "rejects") for kind in self.rejects],
            "logic_dtype": self.logic_dtype,
            "tolerance": self.tolerance,
            "evidence": list(self.evidence),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Contract:
        """The contract that `to_json` wrote; strategies of a user's are not in it."""
        capabilities: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data["capabilities"].items()
        }
        return Contract(
            convention=data["convention"],
            arguments=data["arguments"],
            forms=data["forms"],
            keywords={name: _value_from_json(value) for name, value in data["keywords"].items()},
            result=data["result"],
            vocabulary=data["vocabulary"],
            step=data["step"],
            padding=data["padding"],
            reset=data["reset"],
            input=data["input"],
            output=data["output"],
            state=structure_from_json(data["state"]),
            hyperparameters={
                name: Domain(domain["kind"], tuple(_value_from_json(value) for value in domain["values"]))
                for name, domain in data["hyperparameters"].items()
                if "values" in domain
            },
            fixed={name: _value_from_json(value) for name, value in data["fixed"].items()},
            roles=data["roles"],
            constraints=tuple(data["constraints"]),
            capabilities=Capabilities(**capabilities),
            torch_module=data["torch_module"],
            reference=data["reference"],
            reference_weights=data["reference_weights"],
            rejects=tuple(load(parse(name)) for name in data["rejects"]),
            logic_dtype=data["logic_dtype"],
            tolerance=data["tolerance"],
            evidence=tuple(data["evidence"]),
        )


@dataclass(frozen=True, slots=True)
class CallRules:
    """The shape rules of one call."""

    input: ShapeRule
    output: ShapeRule | None
    state: Rules


def _importable(value: Any, name: str) -> str:
    """The name by which worker processes import what a contract holds."""
    try:
        return parse(name_of(value)).text
    except TargetError as error:
        raise TargetError(
            f"the contract's {name}: {error}; write it with class or def at the top level of a module, and give that "
            "or the text 'package.module:name'"
        ) from None


def adapter_name(adapter: Any) -> str:
    """The name by which worker processes import an adapter: an object's own, or else that of its class."""
    if isinstance(adapter, str | type):
        return _importable(adapter, "adapter")
    home = sys.modules.get(type(adapter).__module__)
    own = next((name for name, value in vars(home).items() if value is adapter), None) if home is not None else None
    if own is None:
        return _importable(type(adapter), "adapter")
    location, _, _ = _importable(type(adapter), "adapter").rpartition(":")
    return f"{location}:{own}"


_RELATIONS: Mapping[str, Callable[[int, int], bool]] = {
    "<": lambda one, two: one < two,
    "<=": lambda one, two: one <= two,
    "==": lambda one, two: one == two,
    "%": lambda one, two: two != 0 and one % two == 0,
}


def _read_constraint(text: str) -> tuple[str, str, str]:
    match = re.fullmatch(r"\s*(\w+)\s*(<=|<|==|%)\s*(\w+)\s*", text)
    if match is None:
        raise ValueError(
            f"cannot read the constraint {text!r}: write 'a < b', 'a <= b', 'a == b' or 'a % b' (b divides a)"
        )
    return match[1], match[2], match[3]


def _value_to_json(value: Value) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _value_from_json(value: Any) -> Value:
    return tuple(value) if isinstance(value, list) else value
