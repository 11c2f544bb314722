"""The repository's own test set-up: one torch thread, and the table of the zoo at the end of the output."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

pytest_plugins = ["pytester"]

# A busy machine is not a failure.
settings.register_profile("repository", deadline=None)
settings.load_profile("repository")

#: Lines of the zoo's kill table, filled by tests/zoo.
ZOO_TABLE: list[str] = []


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Tiny tensors are fastest on one thread, and results do not depend on the machine's cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def zoo_table() -> list[str]:
    """Where the tests of the zoo put what they saw."""
    return ZOO_TABLE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if ZOO_TABLE:
        terminalreporter.section("the zoo")
        for text in sorted(ZOO_TABLE):
            terminalreporter.write_line(text)
