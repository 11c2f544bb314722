"""The parent's side of the worker processes."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
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

    def waits(self) -> dict[str, float]:
        """The seconds that each thread of the process has been ready to run and without a core, as Linux counts them in
        `/proc/PID/task/TID/schedstat`; empty on a system that does not."""
        found = {}
        for counted in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # a thread that has ended
                found[counted.parent.name] = int(counted.read_text(encoding="ascii").split()[1]) / 1e9
        return found

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


class Root:
    """The first nursery. One serves this process as long as it lives, whoever runs checks, one after the other or not.

    It has imported torch and this package, and nothing of a user's. Where it stands and what its environment says does
    not matter: what it forks for a target gets both with the target's name.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        package = str(Path(__file__).resolve().parents[2])
        start = f"import sys; sys.path.append({package!r}); from rnn_props.execution.nursery import main; main()"
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", start, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=_environment(),
            )
        self._nursery = Nursery(ours)
        self._lock = threading.Lock()

    def fork(self) -> Nursery:
        """A nursery for a target, which has nothing imported yet.

        Raises:
            WorkersUnavailableError: this one does not start.
        """
        with self._lock:
            self._wait_until_ready()
            channel, number = self._nursery.fork(b"N")
            return Nursery(channel, self._nursery.pid_of(number))

    def cause_of_death(self, nursery: Nursery) -> str:
        """Why a nursery that was forked here ended by itself."""
        assert nursery.pid is not None
        with self._lock:
            return _cause(self._nursery.status_of(nursery.pid))

    def end(self) -> None:
        """End it and all that it forked."""
        self._nursery.channel.close()
        if self._nursery.pid is None:  # it is still importing, and has no children
            self.process.kill()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._errors.close()

    def _wait_until_ready(self) -> None:
        if self._nursery.pid is not None:
            return
        try:
            self._nursery.wait("ready", _START_LIMIT)
        except (EOFError, TimeoutError):
            self.process.kill()
            self.process.wait()
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip().splitlines()
            last = said[-1] if said else "it said nothing"
            raise WorkersUnavailableError(f"no worker process could be started: {last}") from None
        self._nursery.pid = self.process.pid


def _environment() -> dict[str, str]:
    return {"OMP_NUM_THREADS": "1", **os.environ}


_root: Root | None = None


def start_root() -> Root:
    """The first nursery of this process, started unless it runs. Returns before it is ready.

    Its imports take as long as those of a process that is about to run checks, so it is started before them.
    """
    global _root
    if _root is not None and _root.process.poll() is not None:
        _end()
    if _root is None:
        _root = Root()
    return _root


def _end() -> None:
    global _root
    if _root is not None:
        _root.end()
        _root = None


def _forget() -> None:
    """A forked child has its parent's sockets, and must not use them."""
    global _root
    _root = None


atexit.register(_end)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget)


class Pool:
    """The nurseries of the targets that are open, each with what it forked."""

    def __init__(self) -> None:
        self._open: list[Nursery] = []

    def open_target(self, target: str, limit: float, extensions: Sequence[str] = ()) -> Nursery:
        """A nursery that has the target imported, after extensions.

        Raises:
            TargetUnusableError: the import failed, killed the process or took too long.
            WorkersUnavailableError: the first nursery does not start.
        """
        root = start_root()
        nursery = root.fork()
        self._open.append(nursery)
        folder = os.getcwd()
        request = {
            "target": target,
            "extensions": list(extensions),
            "path": [folder, *[path for path in sys.path if path]],
            "folder": folder,
            "environment": _environment(),
        }
        wire.send(nursery.channel, request)
        try:
            answer = nursery.wait("loaded", limit)
        except TimeoutError:
            self.close_target(nursery)
            raise TargetUnusableError(f"importing it took more than {limit:g} s") from None
        except EOFError:
            self._let_go(nursery)
            cause = root.cause_of_death(nursery)
            raise TargetUnusableError(f"importing it killed the process ({cause})") from None
        if "error" in answer:  # it has ended by itself
            self._let_go(nursery)
            raise TargetUnusableError(answer["error"])
        nursery.fills = answer["fills"]
        return nursery

    def close_target(self, nursery: Nursery) -> None:
        """End a target's nursery and all its workers."""
        if nursery not in self._open:
            return
        assert nursery.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(nursery.pid, signal.SIGKILL)
        self._let_go(nursery)

    def _let_go(self, nursery: Nursery) -> None:
        self._open.remove(nursery)
        nursery.channel.close()

    def close(self) -> None:
        """End the processes of every target."""
        for nursery in list(self._open):
            self.close_target(nursery)
