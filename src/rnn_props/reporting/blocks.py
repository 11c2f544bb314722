"""What is said about one target: heading, checks, violations, advice, counts. As lines, for any output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rnn_props.execution.outcomes import RAN, STATUSES, CheckResult, Finding, Status, TargetResult
from rnn_props.reporting.causes import by_telling, same_cause
from rnn_props.reporting.report import in_order
from rnn_props.reporting.text import (
    WORDS,
    Line,
    clean,
    counted,
    crop,
    line,
    number,
    one_line,
    paragraphs,
    seconds,
    wrap_code,
)

#: Symbols of the statuses, and what stands for them where the output's encoding has no such characters.
SYMBOLS = dict(zip(STATUSES, "✓✗!Ex○·-", strict=True))
ASCII_SYMBOLS = dict(zip(STATUSES, "+X!Exo.-", strict=True))

#: What a finding's kind adds to "it failed". The plain case adds nothing.
_KINDS: Mapping[str, str] = {
    "raised": "it raised an exception",
    "crashed": "the process died",
    "hung": "it did not come to an end",
}


def heading(target: str, contract: Mapping[str, Any] | None) -> list[Line]:
    """The target and, in one line, its contract."""
    lines = [line((clean(target), "title"))]
    if contract is not None:
        lines.append(line((_contract(contract), "dim"), indent=2))
    return lines


def _contract(contract: Mapping[str, Any]) -> str:
    text = f"{contract['convention']}: input {_shape(contract['input'])}"
    output, state = contract.get("output"), contract.get("state")
    if output is not None:
        text += f" -> output {_shape(output)}"
    text += f", state {_state(state)}" if state is not None else ", no state"
    capabilities = contract.get("capabilities") or {}
    if capabilities.get("torch_contract") and contract.get("torch_module"):
        text += f"; held to torch.nn.{contract['torch_module']}'s contract"
    return clean(text)


def _shape(rule: str) -> str:
    dimensions = rule.split()
    return f"({', '.join(dimensions)}{',' if len(dimensions) == 1 else ''})"


def _state(state: Any) -> str:
    """A state structure, as `structure_to_json` writes it, in Python's brackets."""
    match state:
        case str():
            return _shape(state)
        case {"tuple": items}:
            inside = ", ".join(_state(item) for item in items)
            return f"({inside}{',' if len(items) == 1 else ''})"
        case {"list": items}:
            return f"[{', '.join(_state(item) for item in items)}]"
        case {"layers": item, "kind": kind}:
            first = state.get("first")
            inside = f"{_state(item)} for each layer" + (f" but {_state(first)} for the first" if first else "")
            return f"({inside})" if kind == "tuple" else f"[{inside}]"
        case {"record": cls, "fields": {"dict": items}}:
            inside = ", ".join(f"{name}={_state(item)}" for name, item in items.items())
            return f"{cls.rpartition(':')[2]}({inside})"
        case {"complex": rule}:
            return f"complex {_shape(rule)}"
        case {"dict": items}:
            return "{" + ", ".join(f"{name}: {_state(item)}" for name, item in items.items()) + "}"
        case _:
            return "None"


def table(results: Iterable[CheckResult], symbols: Mapping[Any, str], width: int) -> Iterator[Line]:
    """One line a check, by device and code, in columns that fit the width; a check that did not run has its reason."""
    ordered = in_order(tuple(results))
    if not ordered:
        return
    names = max(5, *(len(result.check) for result in ordered))
    words = max(8, *(2 + len(WORDS[result.status]) * (result.status in RAN) for result in ordered))
    device = ""
    for result in ordered:
        if result.device != device:
            device = result.device
            head = f"{'code':5}  {'check on ' + device:{names}}  {'status':{words}}  examples      time"
            yield line((head, "dim"))
        word = f"{symbols[result.status]} {WORDS[result.status]}"
        start = (result.code, "code"), f"  {result.check:{names}}  "
        if result.status in RAN:
            numbers = f"  {number(result.examples):>8}  {seconds(result.duration_s):>8}"
            yield line(*start, (f"{word:{words}}", result.status), numbers)
        else:
            reason = crop(_reason(result), width - 5 - 2 - names - 2 - len(word) - 2)
            yield line(*start, (word, result.status), (f": {reason}" if reason else "", "dim"))


def row(result: CheckResult) -> Line:
    """One check on a line of its own, with nothing left out."""
    start = f"{result.code} {result.check:27} {result.device}  "
    word = WORDS[result.status]
    if result.status in RAN:
        return line(f"{start}{word:8} {counted(result.examples, 'example')}, {seconds(result.duration_s)}")
    reason = _reason(result)
    return line(f"{start}{word}{': ' + reason if reason else ''}")


def _reason(result: CheckResult) -> str:
    return one_line(result.reason or result.message)


def details(target: TargetResult, width: int, missing: int = 0) -> Iterator[Line]:
    """Everything below the table: what is wrong first, then advice, then the counts.

    `missing` is the number of checks that an interrupt left without a result.
    """
    yield from _unusable(target)
    results = in_order(target.results)
    many = len({result.device for result in results}) > 1
    told = same_cause(results)
    for result in by_telling(results):
        if result.status == "error":
            yield from _broken(result, many)
        if (result.code, result.device) in told:
            yield Line()
            note = f"the same exception at the same line as in {told[result.code, result.device]}"
            yield _title(result, WORDS["failed"], "failed", many, note)
            continue
        found = [finding for finding in result.findings if finding.status == "failed"]
        if result.status == "expected_failure":
            continue
        if found or (result.status == "failed" and not result.findings):
            yield from _violation(result, found, many, width)
    yield from _expected(results, many)
    warned = [(result, finding) for result in results for finding in result.findings if finding.status != "failed"]
    advice = [(result, finding) for result, finding in warned if not finding.inherited_from_torch]
    if advice:
        yield Line()
        yield line(("Warnings", "warned"), " (legal, worth knowing; --strict fails on them)")
        yield from _compact(advice, most=0)
    inherited = [(result, finding) for result, finding in warned if finding.inherited_from_torch]
    if inherited:
        yield Line()
        yield line(("Inherited from torch", "warned"), " (not charged to this module; --strict fails on them)")
        yield from _compact(inherited, most=2)
    yield from _agreement(results)
    if target.results:
        yield Line()
        yield line(*summary(target, missing))
        yield from _not_run(results, many)


def _expected(results: list[CheckResult], many: bool) -> Iterator[Line]:
    """Checks that failed as was expected, and those that were expected to and no longer do."""
    failed = [result for result in results if result.status == "expected_failure"]
    if failed:
        yield Line()
        yield line(("Expected failures", "expected_failure"))
        for result in failed:
            yield line((_label(result, many), "code"), f" {result.check}: {one_line(result.reason)}", indent=2)
            yield from (_short(finding, most=2) for finding in result.findings if finding.status == "failed")
    stale = [result for result in results if result.stale]
    if stale:
        yield Line()
        yield line(("Stale", "warned"), " (expected to fail, and no longer do: take them out of expected_failures)")
        for result in stale:
            why = one_line(result.expected_failure)
            yield line((_label(result, many), "code"), f" {result.check}: was expected to fail: {why}", indent=2)


def _agreement(results: list[CheckResult]) -> Iterator[Line]:
    """The largest errors on each device, where checks measured them."""
    largest: dict[str, dict[str, float]] = {}
    for result in results:
        for kind, size in result.errors.items():
            found = largest.setdefault(result.device, {})
            found[kind] = max(found.get(kind, 0.0), size)
    if not largest:
        return
    yield Line()
    yield line(
        ("Agreement", "label"), " with float64 on the CPU: the largest error, as a part of what rounding explains"
    )
    for device, found in largest.items():
        said = ", ".join(f"{kind} {size:.2g}" for kind, size in found.items())
        yield line((device, "code"), f": {said}", indent=2)


def _unusable(target: TargetResult) -> Iterator[Line]:
    if target.message:
        word = (WORDS["error"], "error") if target.status == "error" else ("note", "warned")
        first, *rest = paragraphs(target.message) or [Line()]
        yield Line()
        yield line(word, f"  {first.plain}")
        yield from (Line(item.spans, 2) for item in rest)


def _label(result: CheckResult, many: bool) -> str:
    return f"{result.code} on {result.device}" if many else result.code


def _title(result: CheckResult, word: str, style: str, many: bool, note: str = "") -> Line:
    where = f" on {result.device}" if many else ""
    return line((result.code, "code"), f" {result.check}{where}  ", (word, style), f"  {note}" if note else "")


def _broken(result: CheckResult, many: bool) -> Iterator[Line]:
    yield Line()
    note = "" if result.hint else "the check itself broke: a bug of rnn_props, please report it"
    yield _title(result, WORDS["error"], "error", many, note)
    yield from paragraphs(result.reason or result.message, indent=2)
    if result.hint:
        yield line(("hint: ", "label"), result.hint, indent=2)


def _violation(result: CheckResult, findings: list[Finding], many: bool, width: int) -> Iterator[Line]:
    yield Line()
    note = ""
    if findings:
        note = _KINDS.get(findings[0].kind, "")
        note += f" ({findings[0].signal})" if findings[0].signal else ""
    yield _title(result, WORDS["failed"], "failed", many, note)
    if findings:
        yield from _evidence(findings[0], width)
    elif result.reason:
        yield from paragraphs(result.reason, indent=2)
    yield line(("rule: ", "label"), result.statement, indent=2)
    if result.hint:
        yield line(("hint: ", "label"), clean(result.hint), indent=2)
    yield line(("more: ", "label"), f"rnn-props explain {result.code}", indent=2)
    if len(findings) > 1:
        yield line(("also: ", "label"), f"{counted(len(findings) - 1, 'further violation')} of this check", indent=2)
        yield from (_short(finding, most=0) for finding in findings[1:])


def _evidence(finding: Finding, width: int) -> Iterator[Line]:
    yield from paragraphs(finding.message, "message", indent=2)
    for label, value in (("expected", finding.expected), ("got", finding.actual)):
        if value and value not in finding.message:
            yield line((f"{label}: ", "label"), one_line(value), indent=2)
    if finding.fault:
        yield line(("fault: ", "label"), one_line(finding.fault), indent=2)
    if finding.where:
        yield line(("at: ", "label"), one_line(finding.where), indent=2)
    if finding.inherited_from_torch:
        yield line("torch's own module of the same contract does the same", indent=2)
    if finding.case_repr:
        yield line(("case ", "label"), (finding.case_id, "code"), (":", "label"), indent=2)
        yield from (line((text, "case"), indent=4) for text in wrap_code(clean(finding.case_repr), width - 4))


def _compact(pairs: list[tuple[CheckResult, Finding]], *, most: int) -> Iterator[Line]:
    """Findings under the checks that they belong to, a line or two each."""
    shown = None
    for result, finding in pairs:
        if result is not shown:
            shown = result
            yield line((result.code, "code"), f" {result.check}", indent=2)
        yield _short(finding, most=most)


def _short(finding: Finding, *, most: int) -> Line:
    kind = " ".join(part for part in (finding.kind, finding.signal) if part)
    text = f" {one_line(finding.message)}" + (f" (at {one_line(finding.where)})" if finding.where else "")
    label = f"{one_line(finding.fault)} " if finding.fault else ""
    case = f" [{finding.case_id}]" if finding.case_id else ""
    return line((f"{label}{kind}", "label"), (case, "code"), ":", text, indent=4, most=most)


def summary(target: TargetResult, missing: int = 0) -> list[tuple[str, str]]:
    """The counts of a target in one sentence, with what they cost."""
    examples = sum(result.examples for result in target.results)
    discarded = sum(result.discarded for result in target.results)
    spent = sum(result.duration_s for result in target.results)
    text = f"ran {target.ran} of {counted(len(target.results) + missing, 'check')}, {counted(examples, 'example')}"
    text += f" (and {number(discarded)} discarded)" if discarded else ""
    text += f" in {seconds(target.duration_s)}"
    # Of the checks' own time, not of the clock's: several run at a time.
    text += f" ({min(target.time_in_target_s / spent, 1):.0%} inside the module)" if spent > 0 else ""
    return [(text, ""), *counts(target, missing)]


def counts(target: TargetResult, missing: int = 0) -> list[tuple[str, str]]:
    """How many checks ended with each status; what did not run comes after a semicolon, and is never left out."""
    spans: list[tuple[str, str]] = []
    for separator, of_ran in ((": ", True), ("; ", False)):
        for status in STATUSES:
            if (status in RAN) is of_ran and status in target.counts:
                spans += [(separator, ""), (f"{target.counts[status]} {WORDS[status].lower()}", status)]
                separator = ", "
    if missing:
        spans.append((f"{separator}{missing} not reached", ""))
    return spans


def _not_run(results: list[CheckResult], many: bool) -> Iterator[Line]:
    """Why what did not run did not run: each reason once, with the checks that share it."""
    groups: dict[tuple[Status, str], list[str]] = {}
    for status in STATUSES:
        for result in results:
            if result.status == status and status not in RAN and status != "error":
                groups.setdefault((status, _reason(result)), []).append(_label(result, many))
    for (status, reason), codes in groups.items():
        why = f" ({reason})" if reason else ""
        yield line((f"{WORDS[status]}{why}: ", status), ", ".join(codes), indent=2)
