"""Messages between processes: JSON, each behind its length in four bytes."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("!I")


def send(channel: socket.socket, message: Any) -> None:
    """Send one message whole."""
    body = json.dumps(message).encode()
    channel.sendall(_LENGTH.pack(len(body)) + body)


class Reader:
    """Puts messages together from what arrives."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._buffer = bytearray()

    def next(self) -> Any:
        """The next message, waiting for it.

        Raises:
            EOFError: the other side is gone.
        """
        while True:
            found, message = self.buffered()
            if found:
                return message
            self.fill()

    def fill(self) -> None:
        """Take in what has arrived, waiting for something.

        Raises:
            EOFError: the other side is gone.
        """
        try:
            data = self._channel.recv(1 << 16)
        except ConnectionError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        self._buffer += data

    def buffered(self) -> tuple[bool, Any]:
        """Whether a whole message has arrived, and the message."""
        if len(self._buffer) < _LENGTH.size:
            return False, None
        (length,) = _LENGTH.unpack_from(self._buffer)
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return False, None
        body = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return True, json.loads(body)
