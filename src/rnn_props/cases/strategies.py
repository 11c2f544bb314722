"""Hypothesis strategies for everything that is generated.

Dtypes, devices and element-level tensors come from hypothesis-torch. Wherever one of ours stands, a strategy of the
user's may stand instead: a contract's hyperparameters take any strategy, and `cases` takes replacements by dimension.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import hypothesis_torch
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st

from rnn_props.cases.case import Case
from rnn_props.cases.needs import Needs
from rnn_props.cases.space import MAX_SEED, Space
from rnn_props.cases.specs import MAX_VALUES
from rnn_props.contracts import Contract, Domain
from rnn_props.subjects import DTYPES

_SEEDS = st.integers(0, MAX_SEED)


def dtypes(names: tuple[str, ...]) -> st.SearchStrategy[torch.dtype]:
    """Some of torch's floating dtypes by name, the first one simplest."""
    return hypothesis_torch.dtype_strategy([DTYPES[name] for name in names])


def devices(names: tuple[str, ...] = ("cpu",)) -> st.SearchStrategy[torch.device]:
    """Devices by name."""
    return hypothesis_torch.device_strategy(devices=[torch.device(name) for name in names])


def elements(count: int) -> st.SearchStrategy[tuple[float, ...]]:
    """Single values for a small tensor: zeros of both signs, subnormal numbers and ordinary ones, all below 8."""
    special = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 1e-40, -1e-20, 2.0**-24])
    return hypothesis_torch.tensor_strategy(
        torch.float64,
        (min(count, MAX_VALUES),),
        elements=special | st.floats(-8, 8, width=32),
        device=torch.device("cpu"),
        layout=torch.strided,
        requires_grad=False,
    ).map(lambda tensor: tuple(tensor.tolist()))


def hyperparameters(contract: Contract) -> st.SearchStrategy[dict[str, Any]]:
    """Valid hyperparameters of a contract; constraints between them hold."""
    return (
        st.fixed_dictionaries({name: _strategy(domain) for name, domain in contract.hyperparameters.items()})
        .filter(lambda drawn: contract.broken_constraint(drawn) is None)
        .map(dict)
    )


def cases(
    contract: Contract,
    needs: Needs | None = None,
    replace: Mapping[str, st.SearchStrategy[Any]] | None = None,
) -> st.SearchStrategy[Case]:
    """Cases of a contract.

    Args:
        contract: what the cases are valid for.
        needs: the part of the space to draw from; all of it by default.
        replace: strategies for some dimensions (`T`, `B`, `fill`, `dtype`, `hp:hidden_size`, ...) in place of ours.

    Raises:
        ValueError: no case meets the needs, or `replace` names a dimension that there is not.
    """
    space = Space.of(contract, needs or Needs())
    if space.empty_dimension is not None:
        raise ValueError(f"no case meets the needs: {space.empty_dimension} has no value left")
    # Built once, not for every example: making a strategy costs Hypothesis more than drawing from it.
    strategies = {name: _dimension(name, values) for name, values in space.dimensions.items()}
    strategies |= {f"hp:{name}": strategy for name, strategy in space.opaque.items()}
    unknown = sorted(set(replace or {}) - set(strategies))
    if unknown:
        raise ValueError(f"there is no dimension {unknown[0]!r} to replace; there are {', '.join(strategies)}")
    strategies |= dict(replace or {})
    # Sizes that are made equal on purpose leave a replacement alone: what has no value of ours is never set.
    aims = dataclasses.replace(space, dimensions={**space.dimensions, **dict.fromkeys(replace or {}, ())})
    fixed = {name: values[0] for name, values in space.dimensions.items() if len(values) == 1}
    fixed = {name: value for name, value in fixed.items() if name not in (replace or {})}
    varied = {name: strategy for name, strategy in strategies.items() if name not in fixed}
    constructor = {name: strategy for name, strategy in varied.items() if name.startswith("hp:")}
    others = {name: strategy for name, strategy in varied.items() if name not in constructor}
    single_values = st.nothing() if "fill" in fixed else _VALUES
    splits = st.lists(st.integers(0, 20), min_size=1, max_size=3) if space.needs.splits else st.just([])
    picks = 12**space.needs.picks

    def make(drawn: tuple[Any, ...]) -> Case:
        hyperparameters, rest, values, seed, cuts, pick = drawn
        point = {**fixed, **hyperparameters, **rest}
        point["dtype"] = str(point["dtype"]).removeprefix("torch.")
        if values:
            point |= {"fill": "values", "values": values}
        return aims.case(
            point,
            seeds=(seed, (3 * seed) % MAX_SEED, (7 * seed) % MAX_SEED),
            splits=tuple(cuts),
            picks=tuple(pick // 12**place % 12 for place in range(space.needs.picks)),
        )

    def allowed(values: dict[str, Any]) -> bool:
        known = {name[3:]: value for name, value in {**fixed, **values}.items() if name.startswith("hp:")}
        return contract.broken_constraint(known) is None

    return (
        st.tuples(
            st.fixed_dictionaries(constructor).filter(allowed),
            st.fixed_dictionaries(others),
            st.one_of(*[st.just(()) for _ in range(15)], single_values),
            _SEEDS,
            splits,
            st.integers(0, picks - 1),
        )
        .map(make)
        .filter(lambda case: contract.broken_constraint(case.hyperparameters) is None)
    )


#: Built once for each size, since making a tensor strategy is dear.
_VALUES = st.one_of([elements(count) for count in (2, 8, MAX_VALUES)])

#: Cases that Hypothesis draws in one example: its own work for an example is ten times that for a case.
_BUNDLE = 10


def draw_cases(contract: Contract, needs: Needs, *, seed: int, count: int) -> list[Case]:
    """The first `count` distinct cases that Hypothesis draws under a seed, the same ones under CI too.

    They are the same for one version of Hypothesis in processes that have imported the same modules of the user's: a
    small part of Hypothesis's choices are numbers that stand in modules outside site-packages. Fewer come back where
    the space has no more.
    """
    if count == 0 or Space.of(contract, needs).empty_dimension is not None:
        return []
    drawn: dict[str, Case] = {}
    bundle = min(count, _BUNDLE)

    # The parent profile is named, since Hypothesis turns on other defaults by itself where CI is set.
    @with_seed(seed)
    @settings(
        settings.get_profile("default"),
        max_examples=count // bundle + 2,
        phases=(Phase.generate,),
        database=None,
        derandomize=False,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(cases(contract, needs), min_size=bundle, max_size=bundle))
    def collect(some: list[Case]) -> None:
        drawn.update((case.case_id, case) for case in some)

    collect()
    return list(drawn.values())[:count]


def _dimension(name: str, values: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if name == "dtype":
        return dtypes(values)
    if len(values) == 1:
        return st.just(values[0])
    if name == "coincidence":  # about half of the cases have sizes that are equal on purpose
        return st.sampled_from((*["none"] * len(values), *values[1:]))
    return st.sampled_from(values)


def _strategy(domain: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(domain.values) if isinstance(domain, Domain) else domain
