"""The cases of each check: how many, from what seed, and drawn once for all targets of one contract."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from rnn_props.cases import Case, Needs, Space, covering_cases, faults_for
from rnn_props.cases.stories import draw_stories
from rnn_props.cases.strategies import draw_cases
from rnn_props.checks import Check
from rnn_props.contracts import Contract, Domain
from rnn_props.execution.profiles import Profile

#: Valid cases by what decides them, since targets of one kind mostly have the same contract.
_DRAWN: dict[tuple[str, str, int, int, int], list[Case]] = {}
_MOST_DRAWN = 300


class Plans:
    """The cases of each check under one contract, seed and profile; checks with the same needs share them."""

    def __init__(self, contract: Contract, profile: Profile, seed: int, max_examples: int | None) -> None:
        self._contract = contract
        self._profile = profile
        self._seed = seed
        self._most = max_examples
        described = {name: item for name, item in contract.to_json().items() if name != "evidence"}
        self._described = json.dumps(described, sort_keys=True)
        #: What a strategy of the user's draws is not known by its name, and only this process has it.
        self.named = all(isinstance(domain, Domain) for domain in contract.hyperparameters.values())
        self._drawn = _DRAWN if self.named else {}

    @classmethod
    def from_json(cls, contract: Contract, data: Any) -> Plans:
        """What `to_json` wrote."""
        return cls(contract, Profile(**data["profile"]), data["seed"], data["most"])

    def to_json(self) -> dict[str, Any]:
        """Everything but the contract, for the process that draws."""
        return {"profile": asdict(self._profile), "seed": self._seed, "most": self._most}

    def cases(self, check: Check) -> list[Case]:
        """The valid cases of a check as it prepares them, with its faults put in."""
        cases = self.valid(check)
        if check.prepare is not None:
            cases = [check.prepare(case, self._contract) for case in cases]
        if check.needs.faults:
            cases = [
                replace(case, fault=fault)
                for case in cases
                for fault in faults_for(case, self._contract, check.needs.faults)
            ]
        distinct = list({case.case_id: case for case in cases}.values())
        return distinct if self._most is None else distinct[: self._most]

    def valid(self, check: Check) -> list[Case]:
        """The cases that a check's own are made of: covering pairs first, then what Hypothesis draws."""
        key = self._key(check)
        if key not in self._drawn:
            self._keep(key, self._draw(check.needs, *self._counts(check)))
        return self._drawn[key]

    def has(self, check: Check) -> bool:
        """Whether the cases of a check are drawn already."""
        return self._key(check) in self._drawn

    def take(self, check: Check, cases: Sequence[Any]) -> None:
        """Take cases that another process drew, as JSON data."""
        self._keep(self._key(check), [Case.from_json(case) for case in cases])

    def _keep(self, key: tuple[str, str, int, int, int], cases: list[Case]) -> None:
        if len(self._drawn) >= _MOST_DRAWN:
            self._drawn.clear()
        self._drawn[key] = cases

    def _key(self, check: Check) -> tuple[str, str, int, int, int]:
        return (self._described, check.needs.key, self._seed, *self._counts(check))

    def _counts(self, check: Check) -> tuple[int, int]:
        """Rows of covering pairs, and drawn cases."""
        rows, count = self._profile.covering, self._profile.random
        if check.needs.faults:
            rows, count = self._profile.bases, self._profile.bases // 2
        rows, count = max(round(rows * check.share), 1), round(count * check.share)
        if self._most is not None:
            rows, count = self._most, self._most
        return (rows, count) if self._profile.pairs else (0, rows + count)

    def _draw(self, needs: Needs, rows: int, count: int) -> list[Case]:
        seed = zlib.crc32(f"{self._seed} {needs.key}".encode())
        table = covering_cases(Space.of(self._contract, needs), seed, rows) if rows else []
        if not table:  # where a strategy of the user's draws a hyperparameter there is no table: draw instead
            count += rows
        cases = table + draw_cases(self._contract, needs, seed=seed, count=count)
        if needs.story:
            stories = draw_stories(seed, len(cases))
            cases = [replace(case, story=story) for case, story in zip(cases, stories, strict=False)]
        return cases
