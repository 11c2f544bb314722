"""The parent's side of the worker processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rnn_props.execution import wire

#: Seconds that importing torch and this package may take.
_START_LIMIT = 180.0
#: Seconds that forking a process may take.
_FORK_LIMIT = 60.0
#: Seconds that a process that hangs may take to say where.
_WORDS_LIMIT = 2.0


class WorkersUnavailableError(RuntimeError):
    """No worker process can be started. The message has what the process said."""


class TargetUnusableError(Exception):
    """The target can't be imported or described; the message says why."""


class Nursery:
    """One nursery process: forks workers on demand, and knows how those that ended ended.

    Attributes:
        fills: the user's own kinds of values that are registered in it.
    """

    def __init__(self, channel: socket.socket, pid: int | None = None) -> None:
        self.channel = channel
        self.pid = pid
        self.has_compiler = False
        self.fills: Sequence[str] = ()
        self._reader = wire.Reader(channel)
        self._ended: dict[int, int] = {}
        self._asked = 0
        self._forked: list[int] = []

    def wait(self, key: str, limit: float) -> Any:
        """The next message with a key; ends of processes are noted on the way.

        Raises:
            EOFError: the nursery is gone.
            TimeoutError: nothing came in time.
        """
        deadline = time.monotonic() + limit
        while True:
            found, message = self._reader.buffered()
            if not found:
                self.channel.settimeout(max(deadline - time.monotonic(), 0.001))
                try:
                    self._reader.fill()
                finally:
                    self.channel.settimeout(None)
                continue
            if "ended" in message:
                self._ended[message["ended"]] = message["status"]
            if "forked" in message:
                self._forked.append(message["forked"])
            if key in message or "error" in message:
                return message

    def fork(self, command: bytes, *files: int) -> tuple[socket.socket, int]:
        """The socket to a new child, which may be written to at once, and the child's number here (see `pid_of`)."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.channel, [command], [theirs.fileno(), *files])
        self._asked += 1
        return ours, self._asked - 1

    def pid_of(self, child: int) -> int:
        """The process id of a child; waits until it is forked."""
        while len(self._forked) <= child:
            self.wait("forked", _FORK_LIMIT)
        return self._forked[child]

    def import_compiler(self) -> None:
        """Have torch's compiler imported once, for all workers forked from now on; does not wait for it."""
        if not self.has_compiler:
            self.channel.sendall(b"C")
            self.has_compiler = True

    def status_of(self, pid: int, limit: float = 10.0) -> int | None:
        """The exit status of a child that ended (negative: the signal that killed it), or None if unknown."""
        deadline = time.monotonic() + limit
        while pid not in self._ended:
            try:
                self.wait("ended", max(deadline - time.monotonic(), 0.001))
            except (TimeoutError, EOFError):
                return None
        return self._ended.pop(pid)


class Worker:
    """One worker process of a target."""

    def __init__(self, nursery: Nursery, contract: Mapping[str, Any] | None, device: str = "cpu") -> None:
        self.device = device
        self._nursery = nursery
        self._last_words = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self.channel, self._number = nursery.fork(b"W", self._last_words.fileno())
        self.reader = wire.Reader(self.channel)
        self.fresh = True
        self.has_compiler = nursery.has_compiler
        if contract is not None:
            self.send({"op": "contract", "contract": contract})

    @property
    def pid(self) -> int:
        """The process id; waits until the process is there."""
        return self._nursery.pid_of(self._number)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a request; a worker that is gone shows when its answer is read."""
        with contextlib.suppress(ConnectionError):
            wire.send(self.channel, message)

    def end(self) -> None:
        """Kill the process if it still runs."""
        self._signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Let go of the process, which ends by itself."""
        self.channel.close()
        self._last_words.close()

    def end_with_words(self) -> str:
        """Kill a process that hangs. Returns what it said of where it is."""
        self._signal(signal.SIGABRT)
        if self._nursery.status_of(self.pid, _WORDS_LIMIT) is None:
            self._signal(signal.SIGKILL)
        words = self._words()
        self.close()
        return words

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _words(self) -> str:
        self._last_words.seek(0)
        return self._last_words.read().decode(errors="replace")

    def cpu_seconds(self) -> float | None:
        """The processor time that the process has had; None where that can't be read."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cause_of_death(self) -> tuple[str, str]:
        """Why a worker whose socket closed by itself ended, and what `faulthandler` wrote of where it was."""
        cause, words = _cause(self._nursery.status_of(self.pid)), self._words()
        self.close()
        return cause, words


def _cause(status: int | None) -> str:
    if status is None:
        return "an unknown cause"
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


class Pool:
    """The first nursery and, for one target at a time, the second."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._root: Nursery | None = None
        self._errors: Any = None

    def start(self) -> None:
        """Start the first nursery, or take that which `started_early` has; returns before it is ready."""
        if self._process is not None:
            return
        if _early:
            early = _early.pop()
            self._process, self._root, self._errors = early._process, early._root, early._errors
            early._process = early._root = None
            return
        ours, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        package = str(Path(__file__).resolve().parents[2])
        start = f"import sys; sys.path.append({package!r}); from rnn_props.execution.nursery import main; main()"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", start, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=environment,
            )
        self._root = Nursery(ours)

    def open_target(self, target: str, limit: float, extensions: Sequence[str] = ()) -> Nursery:
        """A nursery that has the target imported, after extensions.

        Raises:
            TargetUnusableError: the import failed, killed the process or took too long.
            WorkersUnavailableError: the first nursery does not start.
        """
        root = self._ready()
        channel, number = root.fork(b"N")
        pid = root.pid_of(number)
        nursery = Nursery(channel, pid)
        path = [os.getcwd(), *[path for path in sys.path if path]]
        wire.send(channel, {"target": target, "path": path, "extensions": list(extensions)})
        try:
            answer = nursery.wait("loaded", limit)
        except TimeoutError:
            self.close_target(nursery)
            raise TargetUnusableError(f"importing it took more than {limit:g} s") from None
        except EOFError:
            cause = _cause(root.status_of(pid))
            raise TargetUnusableError(f"importing it killed the process ({cause})") from None
        if "error" in answer:
            raise TargetUnusableError(answer["error"])
        nursery.fills = answer["fills"]
        return nursery

    def close_target(self, nursery: Nursery) -> None:
        """End a target's nursery and all its workers."""
        if nursery.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(nursery.pid, signal.SIGKILL)
        nursery.channel.close()

    def close(self) -> None:
        """End every process."""
        if self._process is None:
            return
        assert self._root is not None
        self._root.channel.close()
        if self._root.pid is None:  # it is still importing, and has no children
            self._process.kill()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
        self._process = self._root = None

    def _ready(self) -> Nursery:
        self.start()
        assert self._root is not None
        assert self._process is not None
        if self._root.pid is not None:
            return self._root
        try:
            self._root.wait("ready", _START_LIMIT)
        except (EOFError, TimeoutError):
            self._process.kill()
            self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip().splitlines()
            last = said[-1] if said else "it said nothing"
            raise WorkersUnavailableError(f"no worker process could be started: {last}") from None
        self._root.pid = self._process.pid
        return self._root


#: Pools that were started before anybody asked for one.
_early: list[Pool] = []


@contextlib.contextmanager
def started_early() -> Iterator[None]:
    """Start the first nursery of the next pool now, so that it imports torch while this process does."""
    pool = Pool()
    pool.start()
    _early.append(pool)
    try:
        yield
    finally:
        if pool in _early:
            _early.remove(pool)
        pool.close()  # unless its process was taken
