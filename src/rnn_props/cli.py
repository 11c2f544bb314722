"""The command line. Commands are thin, and import what they need when they run: `--help` answers at once."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnn_props import __version__
from rnn_props.cli_options import ARG, CONFIG, EXTENSION, PROGRAM, adapter_text, checking, generating, globs, say

if TYPE_CHECKING:
    from rich.console import Console

    from rnn_props.execution.events import Event
    from rnn_props.reporting.plain import Plain
    from rnn_props.reporting.terminal import Terminal

_INTERRUPTED = 130
_USAGE = 2


class _Commands(click.Group):
    """A group whose errors are one line each, with the exit statuses that the documentation promises."""

    def main(self, *args: Any, **extra: Any) -> Any:
        parent: Any = super()
        if not extra.pop("standalone_mode", True):
            return parent.main(*args, standalone_mode=False, **extra)
        sys.exit(_guarded(lambda: parent.main(*args, standalone_mode=False, **extra)))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderLeftError from error  # click itself would end with 1, which says that a check failed


class _ReaderLeftError(Exception):
    """What reads stdout is gone."""


def _guarded(command: Callable[[], object]) -> int:
    """Run a command; every way in which it can end has its exit status."""
    try:
        status = command()
        sys.stdout.flush()  # a closed pipe shows here, and not as noise when the interpreter ends
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        say("error", error.format_message())
        return _USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"{PROGRAM}: interrupted", err=True)
        return _INTERRUPTED
    except (BrokenPipeError, _ReaderLeftError):
        _drop_stdout()
        return 128 + 13  # as a program that SIGPIPE ended
    except Exception:
        traceback.print_exc()
        say("error", "that is a bug of rnn_props; please report it with the lines above")
        return _USAGE  # not 1, which says that a check failed


def _drop_stdout() -> None:
    """Whoever read the output has left, such as head: what is still buffered has nowhere to go."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# -- commands --------------------------------------------------------------------------------------------------------


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> int:
    """Property-based checks for recurrent PyTorch modules."""
    if context.invoked_subcommand is not None:
        return 0
    click.echo(context.get_help(), err=True)
    return _USAGE


@cli.command()
@click.argument("targets", nargs=-1, metavar="TARGET...")
@checking
@click.pass_context
def check(
    context: click.Context, /, targets: tuple[str, ...], json_path: Path | None, no_color: bool, **options: Any
) -> int:
    """Check modules: TARGET is package.module:attribute or path/to/file.py:attribute.

    Without a TARGET, those of [tool.rnn_props.targets] in pyproject.toml are checked.

    Exit status: 0 nothing failed; 1 a check failed; 2 wrong usage, a target that can't be used, or an error of
    rnn_props; 3 nothing ran; 130 interrupted.
    """
    given = {name: value for name, value in options.items() if _is_given(context, name)}
    chosen = _configured(given)
    targets = targets or tuple(chosen["config"].targets)
    if not targets:
        raise click.UsageError("name a TARGET, such as package.module:MyLSTM, or targets in [tool.rnn_props.targets]")
    unique = tuple(dict.fromkeys(targets))
    for name in unique:
        if targets.count(name) > 1:
            say("note", f"{name} is named {targets.count(name)} times; it is checked once")
    _start_workers()
    from rnn_props.options import Options
    from rnn_props.reporting import UnwritableError, ensure_writable

    if json_path is not None:
        try:
            ensure_writable(json_path)
        except UnwritableError as error:
            raise click.UsageError(f"--json: {error}") from None
    return _run(unique, Options(**chosen), json_path, no_color)


def _start_workers() -> None:
    """Have the process that workers are forked from import torch while this one does."""
    from rnn_props.execution.pool import start_root

    start_root()


def _extend(extensions: tuple[str, ...]) -> None:
    """Import extensions of the command line, or else of the configuration."""
    from rnn_props import config as files
    from rnn_props.extensions import load_extensions

    try:
        load_extensions(extensions or files.read(files.find(Path.cwd())).options.get("extensions", ()))
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _is_given(context: click.Context, name: str) -> bool:
    """Whether an option stands on the command line."""
    return context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT


def _configured(given: dict[str, Any]) -> dict[str, Any]:
    """What comes of the options that are given and of the configuration, as keywords of `Options`."""
    from rnn_props import config as files

    path = given.pop("config", None)
    try:
        config = files.read(files.find(Path.cwd()) if path is None else path)
    except files.ConfigError as error:
        raise click.UsageError(str(error)) from None
    for text in config.expired(datetime.date.today()):
        say("note", text)
    return config.under(given)


@cli.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@generating
@click.pass_context
def generate(
    context: click.Context, /, targets: tuple[str, ...], output: Path | None, ci: str | None, **options: Any
) -> int:
    """Write a test file for a module, to be read, edited and kept.

    What pyproject.toml says of the target counts, as in a check. A file that is there is never written over: the
    difference is shown, and the exit status is 1.
    """
    given = {name: value for name, value in options.items() if _is_given(context, name)}
    if ci is None and len(targets) > 1:
        raise click.UsageError("a test file is written for one target; call it once for each")
    if ci is not None and given:
        option = next(option for option in context.command.params if option.name in given)
        raise click.UsageError(
            f"{option.opts[-1]} is about a file of tests; the workflow that --ci writes runs `rnn-props check`, which "
            "goes by [tool.rnn_props] in pyproject.toml"
        )
    if ci is None:
        form = {name: options.pop(name) for name in ("style", "update")}
        chosen = _configured({name: value for name, value in given.items() if name not in form})
        known = {name: chosen[name] for name in options if name in chosen}
        _start_workers()
    from rnn_props import cli_files
    from rnn_props.options import Options
    from rnn_props.targets import TargetError

    try:
        if ci is not None:
            written = cli_files.generate_workflow(targets, output)
        else:
            written = cli_files.generate(targets[0], output, Options(**known), **form)
    except (cli_files.CommandError, TargetError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    if written.text:
        click.echo(written.text)
    if written.note:
        say("note", written.note)
    return 0 if written.done else 1


@cli.command()
@click.argument("case_id", metavar="CASE_ID")
@click.option(
    "--report",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="JSON report that has the failure.  [default: the failures stored in .hypothesis]",
)
def pin(case_id: str, report: Path | None) -> int:
    """Pin a case that failed: it runs first from now on, wherever its check runs.

    It becomes a line of rnn_props_pins.jsonl at the root of the repository; CASE_ID is shown with each failure.
    """
    from rnn_props import cli_files

    try:
        written = cli_files.pin(case_id, report)
    except cli_files.CommandError as error:
        raise click.UsageError(str(error)) from None
    if written.text:
        click.echo(written.text)
    if written.note:
        say("note", written.note)
    return 0


def _run(targets: tuple[str, ...], options: Any, json_path: Path | None, no_color: bool) -> int:
    from rnn_props import api
    from rnn_props.execution.events import RunFinished
    from rnn_props.reporting import ReportBuilder, UnwritableError, environment, write_json

    surroundings = environment()
    builder = ReportBuilder(surroundings, strict=options.strict)
    screen = _screen(surroundings, no_color)

    def listener(event: Event) -> None:
        nonlocal screen
        builder(event)
        try:
            if screen is not None:
                screen(event)
        except BrokenPipeError:
            if json_path is None:
                raise
            screen = None  # nobody reads along any more, but the file is still wanted
            _drop_stdout()

    with contextlib.ExitStack() as stack:
        if screen is not None:
            stack.callback(screen.close)
        began = time.monotonic()
        try:
            api.run(targets, options, listener)
        except ValueError as error:
            if builder.started:
                raise
            raise click.UsageError(str(error)) from None
        except KeyboardInterrupt:  # outside of what api.run guards: before its workers run, or after
            if not builder.ended:
                listener(RunFinished(time.monotonic() - began, interrupted=True))
    report = builder.report()
    if json_path is not None:
        try:
            write_json(report, json_path)
        except UnwritableError as error:
            say("error", str(error))
            return report.exit_status or _USAGE
    return report.exit_status


def _screen(environment: Mapping[str, Any], no_color: bool) -> Terminal | Plain | None:
    """What shows the run: a live terminal where there is one, else plain lines."""
    console = _console(no_color)
    if console is not None:
        from rnn_props.reporting.terminal import Terminal

        return Terminal(console, environment)
    from rnn_props.reporting.plain import Plain

    def write(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    return Plain(write, environment)


def _console(no_color: bool = False) -> Console | None:
    """The terminal that stdout is, if it is one."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a message may have characters that the terminal has not
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return None
    from rich.console import Console

    return Console(color_system=None if no_color or os.environ.get("NO_COLOR") else "auto", highlight=False)


@cli.command()
@click.argument("target", metavar="TARGET")
@click.option("--toml", "form", flag_value="toml", help="Print it as a table for pyproject.toml.")
@click.option("--python", "form", flag_value="python", help="Print it as Python, a Contract(...) to paste.")
@ARG
@click.option(
    "--adapter",
    metavar="FILE[:NAME]",
    help="How to build and call it; a FILE that is not there is written, as a stub to fill in.  [default: none]",
)
@CONFIG
def infer(target: str, form: str | None, arguments: dict[str, Any], adapter: str | None, config: Path | None) -> int:
    """Show the contract that a module is checked against, and what it was concluded from.

    What pyproject.toml says of the target counts, as in a check. TARGET is package.module:attribute or
    path/to/file.py:attribute. Exit status: 0, or 2 for a target that can't be used or settled; the message says what is
    missing, and what to write.
    """
    if adapter is not None and (file := Path(adapter.partition(".py:")[0])).suffix in ("", ".py"):
        file = file if file.suffix else file.with_suffix(".py")
        if not file.exists():
            return _write_stub(target, file)

    chosen = _configured({"config": config})
    _start_workers()
    from rnn_props import api
    from rnn_props.checks import all_checks
    from rnn_props.contracts import to_python, to_toml
    from rnn_props.inference import contract_text
    from rnn_props.targets import TargetError

    said = chosen["config"].targets.get(target)
    if said is not None and said.whole:
        say("note", f"the contract that {chosen['config'].path} has is shown; nothing was inferred")
    known = {name: chosen[name] for name in ("config", "extensions") if name in chosen}
    try:
        contract = api.infer_contract(target, arguments=arguments, adapter=adapter_text(None, None, adapter), **known)
    except (TargetError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    if form is None:
        applicable = sum(item.not_applicable(contract) is None for item in all_checks())
        note = f"{applicable} of {len(all_checks())} checks apply to it"
        click.echo(contract_text(target, contract, _width(), note))
    else:
        click.echo(to_toml(contract, target) if form == "toml" else to_python(contract, target), nl=False)
    return 0


def _write_stub(target: str, file: Path) -> int:
    from rnn_props.inference import stub

    try:
        file.write_text(stub(target, file), encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"--adapter: {error}") from None
    click.echo(f"{file} is written: fill it in, then\n  rnn-props infer {target} --adapter {file}")
    return 0


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.  [default: off]")
@EXTENSION
def checks(as_json: bool, extensions: tuple[str, ...]) -> None:
    """List all checks: code, name and what they hold."""
    from rnn_props.checks import all_checks

    _extend(extensions)
    if as_json:
        rows = [
            {"code": item.code, "check": item.name, "statement": item.statement, "hint": item.hint,
             "advice": item.advice, "after": list(item.after)}
            for item in all_checks()
        ]  # fmt: skip
        click.echo(json.dumps(rows, indent=2))
        return
    for item in all_checks():
        click.echo(f"{item.code}  {item.name}")
        click.echo(click.wrap_text(item.statement, width=_width(), initial_indent=" " * 7, subsequent_indent=" " * 7))


def _width() -> int:
    import shutil

    return min(shutil.get_terminal_size().columns, 120)


@cli.command()
@click.argument("codes", nargs=-1, required=True, callback=globs, metavar="CODE...")
@click.option("--json", "as_json", is_flag=True, help="Print the pages as JSON.  [default: off]")
@EXTENSION
def explain(codes: tuple[str, ...], as_json: bool, extensions: tuple[str, ...]) -> None:
    """Explain checks: why they matter, what usually breaks them, and how to fix that.

    CODE is a code, a name or a glob, such as RP201, state.continuity or 'RP2*'.
    """
    from rnn_props.checks import UnknownCheckError, select
    from rnn_props.reporting import explain as pages

    _extend(extensions)
    try:
        found = [pages.explanation(item) for item in select(codes)]
    except UnknownCheckError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        click.echo(json.dumps([pages.as_json(page) for page in found], indent=2))
        return
    console = _console()
    if console is None:
        click.echo("\n".join(item.plain for item in pages.text_lines(found)))
        return
    from rnn_props.reporting.terminal import WIDEST, show

    show(console, pages.text_lines(found, min(console.width, WIDEST)))


@cli.command()
def doctor() -> int:
    """Show the environment, and whether worker processes start and do their work."""
    from rnn_props import api
    from rnn_props.reporting import environment

    rows = [("rnn_props", __version__, True)]
    rows += [(name, _shown(value), True) for name, value in environment().items()]
    rows += api.doctor()
    width = max(len(name) for name, _, _ in rows)
    for name, text, fine in rows:
        click.echo(f"{'ok   ' if fine else 'WRONG'}  {name:{width}}  {text}")
    wrong = [name for name, _, fine in rows if not fine]
    click.echo(f"wrong: {', '.join(wrong)}" if wrong else "everything is fine")
    return 1 if wrong else 0


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def main() -> None:
    """The console entry."""
    cli.main(prog_name=PROGRAM)
