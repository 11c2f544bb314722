"""What can be asked of rnn_props from Python."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rnn_props.checks import select
from rnn_props.execution.events import Listener, RunFinished, RunStarted
from rnn_props.execution.events import ignore as ignore_events
from rnn_props.execution.profiles import PROFILES
from rnn_props.execution.runner import Runner, RunOptions

#: More workers than this are never started unasked.
_MOST_JOBS = 8
_LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run is asked for.

    Attributes:
        checks, skip: globs over codes and names.
        profile: `quick`, `default` or `nightly`.
        max_examples: cases for each check, in place of the profile's numbers.
        seed: decides every case; with a seed given, failures of earlier runs are not replayed, so the report depends
            on nothing else.
        jobs: workers at a time; one a core by default.
        arguments: constructor arguments that are held at a value.
        devices: only `cpu` so far.
        strict: advice, and what torch itself does wrong, count as failures.
    """

    checks: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    profile: str = "default"
    max_examples: int | None = None
    seed: int | None = None
    jobs: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu",)
    strict: bool = False


def resolve(options: Options) -> RunOptions:
    """The options with names looked up and defaults put in.

    Raises:
        ValueError: an option is out of range; the message says what it may be.
        UnknownCheckError: a pattern matches no check.
    """
    if options.profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)} (got {options.profile!r})")
    if options.max_examples is not None and options.max_examples < 1:
        raise ValueError(f"max_examples must be at least 1 (got {options.max_examples})")
    if options.seed is not None and not 0 <= options.seed <= _LARGEST_SEED:
        raise ValueError(f"seed must be between 0 and {_LARGEST_SEED} (got {options.seed})")
    if options.jobs is not None and options.jobs < 1:
        raise ValueError(f"jobs must be at least 1 (got {options.jobs})")
    unknown = [device for device in options.devices if device != "cpu"]
    if unknown or not options.devices:
        raise ValueError(f"device must be 'cpu' (got {', '.join(map(repr, options.devices)) or 'none'})")
    profile = PROFILES[options.profile]
    fresh = random.SystemRandom().randrange(_LARGEST_SEED) if profile.fresh_seed else 0
    checks = select(options.checks, options.skip)
    if not checks:
        raise ValueError("no check is left: everything that was chosen is skipped, too")
    return RunOptions(
        checks=checks,
        profile=profile,
        seed=fresh if options.seed is None else options.seed,
        jobs=options.jobs or min(os.cpu_count() or 1, _MOST_JOBS),
        max_examples=options.max_examples,
        arguments=options.arguments,
        strict=options.strict,
        replay=options.seed is None,
    )


def run(targets: Sequence[str], options: Options | None = None, listener: Listener = ignore_events) -> None:
    """Run checks on targets, one after the other, and tell the listener what happens.

    An interrupt ends the run early: the listener is told with the last event.

    Raises:
        ValueError: an option is out of range, before any event.
        UnknownCheckError: a pattern matches no check, before any event.
    """
    resolved = resolve(options or Options())
    started = time.monotonic()
    listener(RunStarted(tuple(targets), len(resolved.checks), resolved.profile.name, resolved.seed, resolved.jobs))
    interrupted = False
    with Runner(resolved, listener) as runner:
        try:
            for target in targets:
                runner.run_target(target)
        except KeyboardInterrupt:
            interrupted = True
    listener(RunFinished(time.monotonic() - started, interrupted))
