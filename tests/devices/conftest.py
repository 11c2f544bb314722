"""The simulated device, set up once in the process of the tests; CPU code is the same with it as without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rnn_props.devices import sim


@pytest.fixture(scope="session", autouse=True)
def _device() -> None:
    reason = sim.why_not()
    if reason is not None:
        pytest.skip(reason)
    sim.set_up()


@pytest.fixture(autouse=True)
def _no_mistake() -> Iterator[None]:
    yield
    sim.set_wrong(None)
