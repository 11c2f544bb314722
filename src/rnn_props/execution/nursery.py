"""The process that workers are forked from, so that a replacement costs milliseconds.

There are two generations of it. The first has torch and this package imported. For each target it forks a second one,
which imports the target and forks the workers of that target. A nursery never calls the target's code beyond importing
it, so it stays single-threaded and safe to fork. It tells its parent of every child that ends, and with what status;
when the parent goes away it kills its children and ends.

Commands arrive as single bytes: `W` forks a worker and `N` a nursery for a target, each with the socket of the new
process, a worker also with the file that it is to leave its last words in; `C` imports torch's compiler.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import os
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from rnn_props.execution import wire


def main() -> NoReturn:
    """Run the first nursery; the number of its socket is the only argument."""
    import torch

    import rnn_props.checks
    import rnn_props.execution.worker
    import rnn_props.inference  # noqa: F401 - imported once here, for every worker

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    channel = socket.socket(fileno=int(sys.argv[1]))
    wire.send(channel, {"ready": True})
    _serve(channel, None)


def _serve(channel: socket.socket, target: Any) -> NoReturn:
    """Fork on command, report ends, until the parent is gone."""
    children: set[int] = set()
    wake_read, wake_write = socket.socketpair()
    wake_write.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([channel, wake_read], [], [])
        if wake_read in ready:
            wake_read.recv(4096)
            _reap(channel, children)
        if channel not in ready:
            continue
        try:
            command, files, _, _ = socket.recv_fds(channel, 1, 2)
        except OSError:
            command, files = b"", []
        if not command:
            _end(children)
        if command == b"C":
            with contextlib.suppress(ImportError):  # a worker that needs it says so
                importlib.import_module("torch._dynamo")
            continue
        pid = os.fork()
        if pid == 0:
            _become(command, files, channel, [wake_read, wake_write], target)
        for file in files:
            os.close(file)
        children.add(pid)
        wire.send(channel, {"forked": pid})


def _become(
    command: bytes, files: list[int], parent: socket.socket, others: list[socket.socket], target: Any
) -> NoReturn:
    """In the child: let go of the parent's sockets, and be a worker or a nursery."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for unused in (parent, *others):
            unused.close()
        _die_with_parent()
        own = socket.socket(fileno=files[0])
        if command == b"N":
            _be_nursery(own)
        from rnn_props.execution.worker import serve

        faulthandler.enable(files[1], all_threads=False)
        serve(own, target)
        status = 0
    finally:
        os._exit(status)


def _be_nursery(channel: socket.socket) -> NoReturn:
    """Import the target that the first message names, answer how that went, and serve."""
    from rnn_props.cases import own_fills
    from rnn_props.extensions import ExtensionError, load_extensions
    from rnn_props.targets import TargetError, load, parse

    request = wire.Reader(channel).next()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[:0] = [path for path in request["path"] if path not in sys.path]
    try:
        load_extensions(request["extensions"])
        target = load(parse(request["target"]))
    except (TargetError, ExtensionError) as error:
        wire.send(channel, {"error": str(error)})
        os._exit(0)
    wire.send(channel, {"loaded": True, "fills": list(own_fills())})
    _serve(channel, target)


def _reap(channel: socket.socket, children: set[int]) -> None:
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        children.discard(pid)
        try:
            wire.send(channel, {"ended": pid, "status": os.waitstatus_to_exitcode(status)})
        except OSError:
            _end(children)


def _end(children: set[int]) -> NoReturn:
    for pid in children:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    os._exit(0)


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends (Linux only; elsewhere a closed socket has to do)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
