"""The text of a test file: the contract as code, then one test a property, in the order in which they rest on each
other."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from rnn_props import __version__
from rnn_props.cases import judge, make_call
from rnn_props.checks import Check
from rnn_props.contracts import Contract
from rnn_props.contracts.code import WIDTH, Call, Name, contract_call, names_used, source
from rnn_props.execution.items import Item, with_prerequisites
from rnn_props.execution.plans import Plans
from rnn_props.execution.profiles import PROFILES
from rnn_props.generation.record import record
from rnn_props.targets import parse

Style = Literal["pytest", "unittest"]
STYLES: tuple[Style, ...] = get_args(Style)

#: Examples of a check that gets its whole share; more is up to the profile of Hypothesis's that runs them.
_EXAMPLES = 100

#: What tests stand on beside the module and its contract.
_DEFINITIONS = {
    # A first call loads kernels, and what Hypothesis explains would be lines of rnn_props.
    "PROPERTY": (
        "PROPERTY = settings(",
        "    deadline=None,",
        "    phases=set(Phase) - {Phase.explain},",
        "    suppress_health_check=[HealthCheck.too_slow],",
        ")",
    ),
    "ACCELERATORS": (
        "# The simulated accelerator, which refuses what CUDA refuses, and each real one.",
        "ACCELERATORS = testing.accelerators()",
    ),
}


@dataclass(frozen=True, slots=True)
class SuiteFile:
    """The text of a test file in its parts, so that tests can be put into one that is there.

    Attributes:
        head: docstring, imports, contract.
        tests: the source of each test by its name, without its indent.
        codes: of the check that each test is of, by the test's name.
        definitions: the source of each name beside CONTRACT and MODULE that the tests use.
        class_name: of the class that the tests stand in, or "".
        imports: the import lines in the head.
    """

    head: str
    tests: dict[str, str]
    codes: dict[str, str]
    definitions: dict[str, str]
    class_name: str
    imports: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole file."""
        if not self.class_name:
            return "\n\n\n".join([self.head, *self.tests.values()]) + "\n"
        methods = "\n\n".join(textwrap.indent(test, "    ") for test in self.tests.values())
        return f"{self.head}\n\n\nclass {self.class_name}(unittest.TestCase):\n{methods}\n"


def suite_file(
    target: str,
    contract: Contract,
    checks: Sequence[Check],
    style: Style = "pytest",
    expected_failures: Mapping[str, str] = MappingProxyType({}),
) -> SuiteFile:
    """A test file for one target.

    Args:
        target: its name, as text.
        contract: what it is held to.
        checks: those to write tests of; what does not apply is listed in the head.
        style: of the file.
        expected_failures: why tests are expected to fail, by code, or by code and device as in `RP301@sim`.

    Raises:
        ValueError: no check applies, or the contract can't be written down.
    """
    call = contract_call(contract)
    items = [Item(check, "cpu" if "cpu" in check.on else "sim") for check in checks]
    reasons = {check.code: _why_not(check, contract) for check in checks}
    applicable = [item.check for item in with_prerequisites(items) if item in items]
    applicable = [check for check in applicable if reasons[check.code] is None]
    if not applicable:
        raise ValueError(f"no test to write: none of the chosen checks applies to {target}")
    named = {f"test_{check.name.replace('.', '_')}": check for check in applicable}
    expected = {
        check.code: reason for check in applicable if (reason := _expected(check, expected_failures)) is not None
    }
    tests = {
        name: "\n".join([*_mark(check, expected.get(check.code), style), _test(check, contract, style)])
        for name, check in named.items()
    }
    codes = {name: check.code for name, check in named.items()}
    name = parse(target).name
    body = "\n".join(tests.values())
    imports = _imports(style, body, names_used(call))
    definitions = {name: "\n".join(text) for name, text in _DEFINITIONS.items() if name in body}
    head = "\n".join(
        [
            _docstring(target, name, style, {code: why for code, why in reasons.items() if why is not None}),
            "",
            *imports,
            "",
            *record(codes.values()),
            "",
            "# What the module and its callers agree on: how it is built, called, and what its",
            "# shapes are. Correct it where it is wrong: every test below is held to it.",
            source(call, prefix="CONTRACT = "),
            source(
                Call("Suite", (target, Name("CONTRACT")), {"expected_failures": list(expected)} if expected else None),
                prefix="MODULE = ",
            ),
            *definitions.values(),
        ]
    )
    return SuiteFile(
        head, tests, codes, definitions, f"{name.strip('_')}Properties" if style == "unittest" else "", tuple(imports)
    )


def _why_not(check: Check, contract: Contract) -> str | None:
    """Why there is no test of a check, or None."""
    if not check.run.__module__.startswith("rnn_props.checks."):
        return "it is a check of your own; `rnn-props check` runs it"
    if not check.on & {"cpu", "sim"}:
        names = " and ".join(sorted(check.on))
        return f"it runs on {names} alone; `rnn-props check --device {min(check.on)}` runs it"
    return check.not_applicable(contract)


def _expected(check: Check, expected_failures: Mapping[str, str]) -> str | None:
    """Why the test of a check is expected to fail, or None. It runs on the CPU if it can, or else on accelerators."""
    said = expected_failures.get(check.code)
    if said is not None or "cpu" in check.on:
        return said or expected_failures.get(f"{check.code}@cpu")
    places = {key.partition("@")[2]: why for key, why in expected_failures.items() if key.startswith(f"{check.code}@")}
    return "; ".join(f"on {device}: {why}" for device, why in places.items()) or None


def _mark(check: Check, reason: str | None, style: Style) -> list[str]:
    """What stands above a test that is expected to fail."""
    if reason is None:
        return []
    if style == "unittest":
        return [*_wrapped(f"# Expected to fail: {reason}", following="# ", indent=4), "@unittest.expectedFailure"]
    strict = not check.each_fault and "cpu" in check.on  # of several rows some may pass
    if len(source(reason)) + len("    reason=,") <= WIDTH:
        return source(Call("pytest.mark.xfail", (), {"reason": reason, "strict": strict}), prefix="@").split("\n")
    *lines, last = textwrap.wrap(reason, WIDTH - 16, break_long_words=False, break_on_hyphens=False)
    pieces = [*(f"{line} " for line in lines), last]
    inside = ["    reason=(", *(f"        {source(piece)}" for piece in pieces), "    ),", f"    strict={strict},"]
    return ["@pytest.mark.xfail(", *inside, ")"]


def _docstring(target: str, name: str, style: Style, absent: dict[str, str]) -> str:
    run = "pytest" if style == "pytest" else "python -m unittest"
    text = [
        f'"""Properties of {name}.',
        "",
        f"Written by `rnn-props generate` {__version__}. The file is yours: edit it.",
        "",
        *_wrapped(
            "Each test is a rule that recurrent modules keep. `case` is one generated example: constructor arguments, "
            "sizes, seeds of parameters, input and initial state. A failure shows the smallest case that fails, as "
            f"code. Run it with {run} in the folder from which {target} can be imported; `rnn-props explain CODE` has "
            "a page for each rule."
        ),
        "",
        *_wrapped(
            "Valid cases run in this process. Bad input may kill the process that it is tried in, so it is tried in "
            "worker processes."
        ),
    ]
    groups: dict[str, list[str]] = {}
    for code, reason in absent.items():
        groups.setdefault(reason, []).append(code)
    if groups:
        text += ["", "Rules without a test here:"]
        for reason, codes in groups.items():
            text += _wrapped(f"- {', '.join(codes)}: {reason}", following="  ")
    return "\n".join([*text, '"""'])


def _wrapped(text: str, following: str = "", indent: int = 0) -> list[str]:
    safe = text.replace("\\", "\\\\").replace('"""', "'''")
    return textwrap.wrap(safe, WIDTH - indent, subsequent_indent=following, break_long_words=False,
                         break_on_hyphens=False)  # fmt: skip


def _imports(style: Style, body: str, names: set[str]) -> list[str]:
    """The import lines that the tests need, in the order in which sorters put them."""
    domains = sorted(names - {"Contract", "Capabilities"}, key=lambda name: (name.islower(), name))
    standard = ["from __future__ import annotations", ""]
    if style == "unittest":
        standard += ["import unittest", ""]
    third = ["import pytest"] if style == "pytest" and "@pytest." in body else []
    has_cases = "@given" in body
    if has_cases:
        third.append("from hypothesis import HealthCheck, Phase, given, settings")
    ours = ["Capabilities"] if "Capabilities" in names else []
    ours += ["Case"] if has_cases else []
    ours += [
        "Contract",
        "Suite",
        *(["strategies"] if has_cases else []),
        *(["testing"] if "ACCELERATORS" in body else []),
    ]
    third.append(f"from rnn_props import {', '.join(ours)}")
    if domains:
        third.append(f"from rnn_props.contracts import {', '.join(domains)}")
    return [*standard, *sorted(third, key=import_order)]


def import_order(line: str) -> tuple[bool, str]:
    """What import lines are sorted by: `import x` before `from x import y`, each by name. It is isort's order, with
    rnn_props taken as a library."""
    return line.startswith("from"), line.split()[1]


def _test(check: Check, contract: Contract, style: Style) -> str:
    own = "self, " if style == "unittest" else ""
    name = f"test_{check.name.replace('.', '_')}"
    indent = 8 if style == "unittest" else 4
    rule = _rule(check, indent)
    if check.each_fault:
        return _fault_table(check, contract, style, name, rule)
    if check.needs.faults or check.compiler:
        return "\n".join([f"def {name}({own.rstrip(', ')}) -> None:", *rule, f'    MODULE.passes("{check.code}")'])
    share = round(_EXAMPLES * check.share)
    how = f"@settings(PROPERTY, max_examples={max(share, 1)})" if share < _EXAMPLES else "@PROPERTY"
    given = f'@given(case=strategies.cases(CONTRACT, "{check.code}"))'
    if "cpu" in check.on:
        head = [how, given, f"def {name}({own}case: Case) -> None:"]
        call = [f'    MODULE.holds("{check.code}", case)']
    elif style == "unittest":
        head = [how, given, f"def {name}({own}case: Case) -> None:"]
        call = ["    for device in ACCELERATORS:", f'        MODULE.holds("{check.code}", case, device=device)']
    else:
        rows = '@pytest.mark.parametrize("device", ACCELERATORS)'
        head = [rows, how, given, f"def {name}(case: Case, device: str) -> None:"]
        call = [f'    MODULE.holds("{check.code}", case, device=device)']
    return "\n".join([*head, *rule, *call])


def _rule(check: Check, indent: int) -> list[str]:
    """The docstring of a test: the code, and what the check holds."""
    text = f"{check.code}: {check.statement}"
    first, *rest = _wrapped(f"QQQ{text}", indent=indent)
    if not rest and indent + len(first) + 3 > WIDTH:
        first, *rest = _wrapped(f"QQQ{text}", indent=indent + 3)
    lines = [f"    {first}", *(f"    {line}" for line in rest)]
    lines[0] = lines[0].replace("QQQ", '"""', 1)
    if not rest:  # formatters put the closing quotes there, whatever the width
        return [f'{lines[0]}"""']
    return [*lines, '    """']


def _fault_table(check: Check, contract: Contract, style: Style, name: str, rule: list[str]) -> str:
    """A test with a row for each fault that makes a call invalid by the contract."""
    faults = fault_keys(check, contract)
    if style == "unittest":
        table = " " * 8 + source(faults, 8, prefix="for fault in ", suffix=":")  # where the method will stand
        loop = [line[4:] for line in table.split("\n")]
        call = ["        with self.subTest(fault=fault):", f'            MODULE.rejects("{check.code}", fault)']
        return "\n".join([f"def {name}(self) -> None:", *rule, *loop, *call])
    return "\n".join(
        [
            "@pytest.mark.parametrize(",
            '    "fault",',
            "    [",
            *(f"        {source(fault)}," for fault in faults),
            "    ],",
            ")",
            f"def {name}(fault: str) -> None:",
            *rule,
            f'    MODULE.rejects("{check.code}", fault)',
        ]
    )


def fault_keys(check: Check, contract: Contract) -> list[str]:
    """The faults of a check that make some call invalid, by the judge."""
    found: dict[str, None] = {}
    for case in Plans(contract, PROFILES["quick"], 0, None).cases(check):
        if case.fault is not None and case.fault.key not in found:
            verdict = judge(make_call(case, contract), contract, case.dtype)
            if verdict.kind == "invalid":
                found[case.fault.key] = None
    return list(found)
