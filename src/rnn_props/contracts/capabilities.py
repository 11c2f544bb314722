"""What a module can do, and what it does not promise."""

from __future__ import annotations

from dataclasses import dataclass

FLOAT_DTYPES = ("float64", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a module can do, and what it does not promise.

    A check that needs a capability which is absent is `not_applicable`, with the capability as the reason.
    """

    #: Has a `batch_first` hyperparameter.
    batch_first: bool = False
    #: Takes inputs without the batch dimension.
    unbatched: bool = False
    #: Takes any number of features: nothing in it has that size.
    any_width: bool = False
    #: Takes a PackedSequence, and gives one.
    packed: bool = False
    #: Takes packed sequences only with their rows sorted by length.
    sorted_only: bool = False
    #: Lengths are parts of the longest, in (0, 1], and not numbers of steps.
    relative_lengths: bool = False
    #: Takes rows of length zero.
    zero_lengths: bool = False
    #: Takes a batch of zero.
    empty_batch: bool = False
    #: Has a `bidirectional` hyperparameter.
    bidirectional: bool = False
    #: Has a `proj_size` hyperparameter.
    proj: bool = False
    #: The initial state may be left out, and is then zero.
    optional_state: bool = True
    #: The output is the top layer's hidden state at each step.
    output_is_state: bool = False
    #: Outputs do not depend on later inputs, in a configuration with one direction.
    causal: bool = True
    #: The constructor takes `dtype` and `device`.
    factory: bool = False
    #: Parameters are named and shaped as torch.nn's.
    torch_weights: bool = False
    #: Held to torch.nn's own contract in everything, exact state sizes included.
    torch_contract: bool = False
    #: The dtypes that are promised.
    dtypes: tuple[str, ...] = FLOAT_DTYPES
    #: Keeps its state between calls on purpose.
    stateful: bool = False
    #: Statistics over the batch are part of the computation (batch normalisation).
    batch_statistics: bool = False
    #: One quantisation scale for a whole tensor.
    per_tensor_quantised: bool = False
    #: The state that is used when none is given is not zero.
    nonzero_default_state: bool = False
    #: The state is never negative: it is kept in log space, where a negative number has no place.
    positive_state: bool = False
    #: `torch.compile` is to agree with eager calls.
    compile: bool = True
    #: `torch.export` is to agree with eager calls.
    export: bool = True
    #: Some parameters are others under a second name, on purpose.
    tied_weights: bool = False
    #: Gradients flow through it: it is trained, not for inference alone.
    differentiable: bool = True
    #: Its gradient is one that stands in for a derivative that is zero almost everywhere (spiking units).
    surrogate_gradients: bool = False
    #: States are cut off from the graph on their way in or out, on purpose.
    detached_cache: bool = False
