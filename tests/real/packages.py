"""Recurrent modules of published packages: how each is called, and the verdict that is expected of it.

A verdict is that of the version named; each code in it was confirmed by hand in plain PyTorch (docs/field-notes.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Known:
    """One class.

    Attributes:
        target: where it is.
        package: the distribution that it comes from, with the version that the verdict is of.
        agreed: convention, input, output and state (as `structure_text` writes it) that are right for it.
        codes: the checks that must fail; none for a clean one.
        arguments: constructor arguments that have to be given.
    """

    target: str
    package: str
    agreed: tuple[str, str, str | None, str]
    codes: frozenset[str] = frozenset()
    arguments: Mapping[str, Any] = field(default_factory=dict)


def _known(target: str, package: str, agreed: tuple[str, str, str | None, str], *codes: str, **arguments: Any) -> Known:
    return Known(target, package, agreed, frozenset(codes), arguments)


_H = "'B H'"
_PAIR = "('B H', 'B H')"
_TORCH_PAIR = "('L*D B P', 'L*D B H')"
_RNN = ("rnn", "T B I", "T B D*P", "'L*D B H'")
_LSTM = ("rnn", "T B I", "T B D*P", _TORCH_PAIR)
_CELL = ("cell", "B I", None, _H)
_PAIR_CELL = ("cell", "B I", None, _PAIR)

#: torchrecurrent's classes whose state is one tensor, and those whose state is a pair.
_ONE_TENSOR = (
    "AntisymmetricRNN", "GatedAntisymmetricRNN", "NBR", "BR", "CFN", "DSGU", "FastRNN", "FastGRNN", "ATR", "IndRNN",
    "LiGRU", "LightRU", "MGU", "MinimalRNN", "MiRU1", "MiRU2", "MUT1", "MUT2", "MUT3", "SGU", "SGRN", "STAR", "TRNN",
    "UGRNN",
)  # fmt: skip
_TWO_TENSORS = (
    "JANET", "LEM", "MultiplicativeLSTM", "NAS", "OriginalLSTM", "PeepholeLSTM", "RAN", "ResLSTM", "coRNN",
    "UnICORNN", "WMCLSTM",
)  # fmt: skip

KNOWN: tuple[Known, ...] = (
    _known("torch.ao.nn.quantizable:LSTM", "torch", _LSTM, "RP101"),
    _known("torch.ao.nn.quantized.dynamic:LSTM", "torch", _LSTM, "RP407"),
    _known("torch.ao.nn.quantized.dynamic:GRU", "torch", _RNN),
    _known("ncps.torch:CfC", "ncps==1.0.1", ("rnn", "T B I", "T B H", _H), "RP310"),
    _known("ncps.torch:LTC", "ncps==1.0.1", ("rnn", "T B I", "T B H", _H), "RP105", "RP310", "RP401"),
    _known("ncps.torch:CfCCell", "ncps==1.0.1", ("cell", "B I", "B H", _H)),
    _known("minGRU_pytorch:minGRU", "minGRU-pytorch==0.2.1", ("rnn", "B T I", "B T I", "'B 1 I'")),
    _known("minGRU_pytorch.minLSTM:minLSTM", "minGRU-pytorch==0.2.1", ("rnn", "B T I", "B T I", "'B 1 I'"),
           "RP201", "RP702"),
    _known("snntorch:Leaky", "snntorch==1.0.0", ("cell", "B 3", "B 3", "'B 3'"), "RP105", "RP402", "RP902"),
    _known("snntorch:Synaptic", "snntorch==1.0.0", ("cell", "B 3", "B 3", "('B 3', 'B 3')"), "RP105", "RP402", "RP902"),
    _known(
        "snntorch:SLSTM", "snntorch==1.0.0", ("cell", "B I", "B H", _PAIR), "RP105", "RP205", "RP408", "RP902"
    ),
    _known("snntorch:LeakyParallel", "snntorch==1.0.0", ("model", "T B I", "T B H", "None"), "RP105", "RP106"),
    _known("torchnlp.nn:WeightDropLSTM", "pytorch-nlp==0.5.0", _LSTM, "RP901", "RP902"),
    _known("torchnlp.nn:WeightDropGRU", "pytorch-nlp==0.5.0", _RNN, "RP901", "RP902"),
    _known("torchrl.modules:LSTM", "torchrl==0.14.1", _LSTM, "RP101"),
    _known("torchrl.modules:GRU", "torchrl==0.14.1", _RNN, "RP103"),
    _known("torchrl.modules:LSTMCell", "torchrl==0.14.1", _PAIR_CELL, "RP402"),
    _known("torchrl.modules:GRUCell", "torchrl==0.14.1", _CELL, "RP401", "RP402"),
    _known("norse.torch.module.lif:LIFRecurrent", "norse==1.1.0", ("rnn", "T B I", "T B H",
           "Record('norse.torch.functional.lif:LIFState', {'z': 'B H', 'v': 'B H', 'i': 'B H'})"), "RP902"),
    _known("norse.torch.module.lif:LIFRecurrentCell", "norse==1.1.0", ("cell", "B I", "B H",
           "Record('norse.torch.functional.lif:LIFState', {'z': 'B H', 'v': 'B H', 'i': 'B H'})"), "RP105", "RP902"),
    _known("norse.torch.module.lif:LIFCell", "norse==1.1.0", ("cell", "B 3", "B 3",
           "Record('norse.torch.functional.lif:LIFFeedForwardState', {'v': 'B 3', 'i': 'B 3'})"), "RP105", "RP902"),
    _known("LRU_pytorch:LRU", "lru-pytorch==0.1.3", ("model", "B T I", "B T O", "None"), "RP105", "RP404", "RP906"),
    _known("ur_lstm:URLSTM", "ur-lstm-torch==0.0.2", _LSTM, "RP105", "RP402"),
    _known("ur_lstm:URLSTMCell", "ur-lstm-torch==0.0.2", ("cell", "B I", "B H", _PAIR)),
    _known("cerebral_lstm:CerebralLSTMCell", "cerebral-lstm==1.1.1", ("cell", "B I", None, f"('B H', {_PAIR})")),
    _known("cerebral_lstm:CerebralLSTM", "cerebral-lstm==1.1.1",
           ("rnn", "T B I", "T B H", f"Layers(('B H', {_PAIR}))"), "RP402", "RP403"),
    _known("arrayLSTM:LSTM", "array-lstm==0.0.1", ("rnn", "B T I", "B T H", "('1 B H', '1 B H')"), "RP105"),
    _known("arrayLSTM:ArrayLSTM", "array-lstm==0.0.1", ("rnn", "B T I", "B T H", "('1 B H', 'k B H')"), "RP207"),
    _known("conv_lstm:ConvLSTM", "conv-lstm==0.1.2", ("model", "T B I 4 6", "B T H 4 6", "None")),
    _known("conv_lstm:ConvLSTMCell", "conv-lstm==0.1.2", ("cell", "B I 4 6", None, "('B H 4 6', 'B H 4 6')")),
    _known("subLSTM.nn:SubLSTM", "pytorch-sublstm==0.0.2",
           ("rnn", "T B I", "T B H", f"Layers([{_PAIR}])"), "RP101"),
    _known("comfi_fast_grnn_torch:ComfiFastGRNN", "comfi-fast-grnn-torch==0.0.3", _RNN, "RP402", "RP403"),
    _known("liquidnn:LiquidNeuron", "liquidnn==1.1.2", _CELL, "RP105"),
    _known("rnn_classifier:RNNClassifier", "rnn-classifiers==0.0.2", ("model", "T B I", "B O", "None"),
           "RP301"),
    _known("torchxlstm:sLSTM", "torchxlstm==0.0.3", ("rnn", "T B I", "T B I",
           "('L B H*num_heads', 'L B H*num_heads', 'L B H*num_heads', 'L B H*num_heads')"), "RP101"),
    _known("gated_state_spaces_pytorch:GSS", "gated-state-spaces-pytorch==0.1.0", ("model", "B T I", "B T I", "None")),
    _known("neuralfields:NeuralField", "neuralfields==0.5.2", ("model", "B T I", "B T O", "None"),
           "RP401", "RP603", "RP906"),
    _known("light_recurrent_unit_pytorch:LightRecurrentUnit", "light-recurrent-unit-pytorch==0.1.4",
           ("rnn", "B T I", "B T I", "Layers('B I')"), "RP402"),
    _known("pytorch_forecasting.models.nn.rnn:LSTM", "pytorch-forecasting==1.8.0", _LSTM, "RP355"),
    _known("pytorch_forecasting.models.nn.rnn:GRU", "pytorch-forecasting==1.8.0", _RNN, "RP355"),
    _known("tsai.models.RNN:LSTM", "tsai==1.0.1", ("model", "B I T", "B O", "None"), "RP601"),
    _known("tests.real.factories:mamba", "mambapy==1.2.0", ("model", "B T I", "B T I", "None"), "RP604"),
    _known("tests.real.factories:mamba_mixer", "transformers==5.23.0", ("lengths", "B T I", "B T I", "None"), "RP604"),
    _known("torchrecurrent:TGRU", "torchrecurrent==0.2.5",
           ("rnn", "T B I", "T B H", "('L B H', Layers('B H', kind='tuple', first='B I'))"), "RP402", "RP403"),
    _known("torchrecurrent:TGRUCell", "torchrecurrent==0.2.5", ("cell", "B I", None, "('B H', 'B I')")),
    _known("torchrecurrent:MCLSTMCell", "torchrecurrent==0.2.5", ("cell", "B I", "B H", _PAIR)),
    _known("torchrecurrent:IntersectionRNNCell", "torchrecurrent==0.2.5", ("cell", "B I", "B I", "'B I'")),
    *(_known(f"torchrecurrent:{name}", "torchrecurrent==0.2.5", _RNN, "RP402", "RP403") for name in _ONE_TENSOR),
    *(_known(f"torchrecurrent:{name}", "torchrecurrent==0.2.5", _LSTM, "RP402", "RP403") for name in _TWO_TENSORS),
    *(_known(f"torchrecurrent:{name}Cell", "torchrecurrent==0.2.5", _CELL) for name in _ONE_TENSOR),
    *(
        _known(f"torchrecurrent:{name}Cell", "torchrecurrent==0.2.5", _PAIR_CELL,
               *(("RP106",) if name == "JANET" else ()))
        for name in _TWO_TENSORS
    ),
)  # fmt: skip
