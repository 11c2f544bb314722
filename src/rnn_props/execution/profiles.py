"""Profiles: how much is run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """How many cases a check gets.

    Attributes:
        covering: the most rows of the table of covering pairs.
        random: how many cases Hypothesis draws after them.
        bases: the most rows of the table from which the faults of a fault check are made (half as many are drawn).
        shrinks: the most candidates that are tried for one failure.
        time_limit_s: for one case in a worker, after which it counts as hung; a target that was slow to probe gets
            more.
        check_limit_s: for all cases of one check; what is left is not run, and the count says so.
        fresh_seed: whether a run without `--seed` takes a new seed each time.
        thorough: whether checks also do what costs many seconds a case.
        pairs: whether covering pairs come first; without them as many cases are drawn.
    """

    name: str
    covering: int
    random: int
    bases: int
    shrinks: int
    time_limit_s: float
    check_limit_s: float
    fresh_seed: bool = False
    thorough: bool = False
    pairs: bool = True


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("quick", covering=14, random=6, bases=4, shrinks=60, time_limit_s=10, check_limit_s=20),
        Profile("default", covering=60, random=30, bases=10, shrinks=150, time_limit_s=10, check_limit_s=60),
        Profile(
            "nightly",
            covering=400,
            random=600,
            bases=60,
            shrinks=400,
            time_limit_s=60,
            check_limit_s=600,
            fresh_seed=True,
            thorough=True,
        ),
    )
}
