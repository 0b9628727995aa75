"""A proxy between the client and a real server that does harm at one byte of its choice.

    proxy = FaultProxy(granian.http_port)
    async with scripted(proxy) as server:
        proxy.arm(Fault(Direction.RESPONSE, 17, reset))
        ... the next connection is reset when 17 bytes of the response have passed ...
        await proxy.done.wait()

A fault is for one connection; all others are passed on as they are. It comes as soon as so many bytes have passed; at
byte 0 of the response, when the server has begun to answer. With `after`, the bytes of an earlier request and of its
response are passed before, so that the fault meets a connection that is used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass

from .scripted import PATIENCE, Peer


class Direction(enum.Enum):
    """What passes."""

    REQUEST = 'request'
    RESPONSE = 'response'


@dataclass(frozen=True)
class Fault:
    """`harm` is what is done after `at` bytes. `after`: bytes of the earlier request, and of its response."""

    direction: Direction
    at: int
    harm: Harm
    after: tuple[int, int] = (0, 0)


class FaultProxy:
    """A script for `scripted`. It belongs to the loop in which it was made."""

    def __init__(self, port: int) -> None:
        self.done = asyncio.Event()
        """Set when the fault has been done."""
        self.passages: list[Passage] = []
        """One for each connection."""
        self._fault: Fault | None = None
        self._loop = asyncio.get_running_loop()
        self._port = port

    def arm(self, fault: Fault) -> None:
        """Do this on the next connection."""
        self._fault = fault
        self.done = asyncio.Event()

    def __call__(self, peer: Peer) -> None:
        fault, self._fault = self._fault, None
        done = functools.partial(self._loop.call_soon_threadsafe, self.done.set)
        with socket.create_connection(('127.0.0.1', self._port), PATIENCE) as server:
            passage = Passage(peer, server, fault, done)
            self.passages.append(passage)
            passage.run()


class Passage:
    """One connection through the proxy, and what has passed on it."""

    def __init__(self, peer: Peer, server: socket.socket, fault: Fault | None, done: Callable[[], object]) -> None:
        self.peer = peer
        self.request, self.response = b'', b''
        self._server = server
        self._fault = fault
        self._done = done
        self._open = True
        self._drips = False
        self._passes_requests = True

    def run(self) -> None:
        """Pass bytes on until one side closes, or the fault ends it."""
        while self._open:
            fault = self._fault
            left_of_request = left_of_response = 65536
            if fault is not None and fault.direction is Direction.REQUEST:
                left_of_request = fault.after[0] + fault.at - len(self.request)
                due = not left_of_request and len(self.response) >= fault.after[1]
            elif fault is not None:
                left_of_response = fault.after[1] + fault.at - len(self.response)
                due = not left_of_response and (fault.at > 0 or self._readable(self._server))
            else:
                due = False
            if fault is not None and due:
                self._fault = None
                fault.harm(self)
                self._done()
            elif left_of_response and self._readable(self._server):
                self._pass_response(left_of_response)
            elif left_of_request and self._readable(self.peer.socket):
                self._pass_request(left_of_request)
            else:
                select.select([self._server, *[self.peer.socket][: bool(left_of_request)]], [], [], PATIENCE)

    # The harm

    def close(self) -> None:
        """Close at once; what has passed and the end arrive together."""
        self._open = False
        self.peer.close()

    def close_later(self) -> None:
        """Close after the client has read what has passed."""
        self.peer.let_the_client_read()
        self.close()

    def reset(self) -> None:
        """Reset after the client has read what has passed."""
        self.peer.let_the_client_read()
        self._open = False
        self.peer.reset()

    def half_close(self) -> None:
        """Say that nothing more comes, and go on receiving."""
        self.peer.shutdown_write()
        self.stall()

    def stall(self) -> None:
        """Say nothing more."""
        self._done()
        self._open = False
        self.peer.until_closed()

    def drip(self) -> None:
        """Pass all that comes after this byte by byte."""
        self._drips = True

    def babble(self) -> None:
        """Send the client what is no response."""
        self.peer.send(GARBAGE)

    def insert(self) -> None:
        """Put a byte that is not allowed into the response."""
        self.peer.send(b'\0')

    def insert_into_request(self) -> None:
        """Put a line that is not allowed into the request, and the end of a head, so that the server need not wait."""
        with contextlib.suppress(ConnectionError):  # it has answered what came before, and left
            self._server.sendall(b'\0\r\n\r\n')

    def spoil_request(self) -> None:
        """Put a byte that does not belong there into the request, and end it, so that the server need not wait."""
        with contextlib.suppress(OSError):  # the server has ended it itself
            self._server.sendall(b'\0')
            self._server.shutdown(socket.SHUT_WR)
        self._passes_requests = False

    # What passes

    def _pass_request(self, limit: int) -> None:
        data = _received(self.peer.socket, limit)
        self.request += data
        self._open = bool(data)
        if not self._passes_requests:
            return
        step = 1 if self._drips else limit
        with contextlib.suppress(ConnectionError):  # it has left, and what it said before decides
            for at in range(0, len(data), step):
                self._server.sendall(data[at : at + step])

    def _pass_response(self, limit: int) -> None:
        data = _received(self._server, limit)
        self.response += data
        self._open = bool(data)
        if self._drips:
            self.peer.pieces(data)
        else:
            self.peer.send(data)

    @staticmethod
    def _readable(sock: socket.socket) -> bool:
        return bool(select.select([sock], [], [], 0)[0])


def _received(sock: socket.socket, limit: int) -> bytes:
    """What was received; nothing after the end, whichever kind of end it was."""
    with contextlib.suppress(ConnectionError):
        return sock.recv(limit)
    return b''


GARBAGE = b'\0\xff garbage\r\n\r\n'

Harm = Callable[[Passage], None]
