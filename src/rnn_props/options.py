"""What a run is asked for, and what that means once names are looked up and defaults put in."""

from __future__ import annotations

import datetime
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis.database import ExampleDatabase

from rnn_props import devices
from rnn_props.checks import select
from rnn_props.config import Config
from rnn_props.contracts import Contract, adapter_name, check_declared, whole_contract, with_fixed
from rnn_props.execution import pins
from rnn_props.execution.items import items_of
from rnn_props.execution.profiles import PROFILES, Profile
from rnn_props.execution.runner import RunOptions
from rnn_props.extensions import load_extensions

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
        devices: names of devices to run on, such as `cpu`, `sim`, `cuda`, `cuda:1`, `mps`; `all` is what is there.
            Checks on a device that is not there are counted as skipped.
        require_devices: the same, but a device that is not there is an error.
        strict: advice, and what torch itself does wrong, count as failures.
        contract: the contract to hold the target to, in place of the one that would be inferred. Its hyperparameters
            may be drawn by Hypothesis strategies.
        expected_failures: checks that are expected to fail, each with the reason, by code or name; `RP301@sim` means
            the check on that device alone. Such a failure counts as an expected one, and a check that no longer fails
            is reported as stale.
        place: the number of this process where several run checks side by side; GPUs are given out by it.
        extensions: modules that register checks, faults or kinds of values of one's own: `package.module` or
            `path/to/file.py`. Those of installed packages are imported in any case.
        config: what a configuration file says of single targets; see `rnn_props.config.read`.
        adapter: how to build and call the target, where that is to be inferred and no convention fits: an adapter, or
            the text `"file.py:ADAPTER"`.
        replay: whether failures of earlier runs are run first; by default where no seed is given.
        shrink: whether failures are made smaller.
        database: where failures are kept, one of Hypothesis's, or None for nowhere; its own by default.
    """

    checks: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    profile: str = "default"
    max_examples: int | None = None
    seed: int | None = None
    jobs: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu",)
    require_devices: tuple[str, ...] = ()
    strict: bool = False
    contract: Contract | None = None
    expected_failures: Mapping[str, str] = field(default_factory=dict)
    place: int = 0
    extensions: tuple[str, ...] = ()
    config: Config = field(default_factory=Config)
    adapter: Any = None
    replay: bool | None = None
    shrink: bool = True
    database: ExampleDatabase | None = field(default_factory=lambda: settings.get_profile("default").database)


def resolve(options: Options) -> RunOptions:
    """The options with names looked up and defaults put in.

    Raises:
        ValueError: an option is out of range, or an extension can't be imported; the message says more.
        UnknownCheckError: a pattern matches no check.
        PinError: the file of pinned cases has a line that is none.
        TargetError: the contract can't be sent to worker processes.
    """
    load_extensions(options.extensions)
    check_declared(options.config)
    if options.contract is not None:
        options.contract.to_json()  # now, before anything runs
    if options.profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)} (got {options.profile!r})")
    if options.max_examples is not None and options.max_examples < 1:
        raise ValueError(f"max_examples must be at least 1 (got {options.max_examples})")
    if options.seed is not None and not 0 <= options.seed <= _LARGEST_SEED:
        raise ValueError(f"seed must be between 0 and {_LARGEST_SEED} (got {options.seed})")
    if options.jobs is not None and options.jobs < 1:
        raise ValueError(f"jobs must be at least 1 (got {options.jobs})")
    chosen = devices.choose((*options.devices, *options.require_devices))
    absent = [device for device in devices.choose(options.require_devices) if device.missing]
    if absent:
        raise ValueError(f"device {absent[0].name} is required, and is not there: {absent[0].missing}")
    if not chosen:
        raise ValueError("no device is named; write 'cpu', or 'all' for what is there")
    profile = _profile(options)
    fresh = random.SystemRandom().randrange(_LARGEST_SEED) if profile.fresh_seed else 0
    checks = select(options.checks, options.skip)
    if not checks:
        raise ValueError("no check is left: everything that was chosen is skipped, too")
    if not items_of(checks, chosen):
        wanted = sorted({kind for item in checks for kind in item.on})
        raise ValueError(
            f"the chosen checks run on {', '.join(wanted)} alone; add a device of these (got "
            f"{', '.join(device.name for device in chosen)})"
        )
    resolved = RunOptions(
        checks=checks,
        profile=profile,
        seed=fresh if options.seed is None else options.seed,
        jobs=options.jobs or min(os.cpu_count() or 1, _MOST_JOBS),
        devices=chosen,
        max_examples=options.max_examples,
        arguments=options.arguments,
        strict=options.strict,
        replay=options.seed is None if options.replay is None else options.replay,
        database=options.database,
        contract=options.contract,
        expected_failures=_expected(options.expected_failures),
        pins=pins.read(pins.place(Path.cwd())),
        place=options.place,
        extensions=options.extensions,
        adapter="" if options.adapter is None else adapter_name(options.adapter),
    )
    said = options.config.targets
    return replace(resolved, targets={name: _of_target(resolved, options, name) for name in said})


def _profile(options: Options) -> Profile:
    profile = PROFILES[options.profile]
    return profile if options.shrink else replace(profile, shrinks=0)


def _of_target(resolved: RunOptions, options: Options, target: str) -> RunOptions:
    """What is asked for of one target of a configuration.

    Raises:
        ConfigError: the configuration names a check that there is not.
    """
    said = options.config.targets[target]
    try:
        checks = select(said.checks or options.checks, (*options.skip, *said.skip))
        expected = _expected(
            {
                name: f"{waiver.reason}{(waiver.until and f' (until {waiver.until})') or ''}"
                for name, waiver in said.expected_failures.items()
                if not waiver.expired(datetime.date.today())
            }
        )
    except ValueError as error:
        raise options.config.error(("targets", target), str(error)) from None
    own = replace(options, **said.options)
    arguments = {**said.arguments, **resolved.arguments}
    contract = resolved.contract or whole_contract(options.config, target)
    if contract is not None and resolved.contract is None:
        contract = with_fixed(contract, arguments)
    # An argument has one of its values while the contract is inferred, and all of them afterwards.
    simplest = {name: values[0] for name, values in said.hyperparameters.items()}
    return replace(
        resolved,
        checks=checks,
        profile=_profile(own),
        max_examples=own.max_examples,
        devices=devices.choose((*own.devices, *options.require_devices)),
        arguments={**said.arguments, **simplest, **resolved.arguments},
        contract=contract,
        adapter=resolved.adapter or said.adapter,
        expected_failures={**expected, **resolved.expected_failures},
        declared=said.without(resolved.arguments),
    )


def _expected(failures: Mapping[str, str]) -> dict[str, str]:
    """Expected failures by code, or by code and device.

    Raises:
        ValueError: one is of no check, of several, or has no reason.
    """
    found: dict[str, str] = {}
    for text, reason in failures.items():
        name, at, device = text.partition("@")
        matching = select([name])
        if len(matching) > 1:
            raise ValueError(f"expected_failures: '{text}' means {len(matching)} checks; name each with its reason")
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"expected_failures: '{text}' needs a reason (got {reason!r})")
        key = f"{matching[0].code}{at}{device and devices.choose([device])[0].name}"
        if key in found:
            raise ValueError(f"expected_failures: {matching[0].code} is named twice")
        found[key] = reason.strip()
    return found
