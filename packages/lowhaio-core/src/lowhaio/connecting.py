"""From addresses to a connected socket, TLS included.

Nothing here knows of the pool or of time: `wait` awaits a future until the caller's deadline, or raises. In a fork of
the process that connects, nothing here touches the loop, which both share.
"""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from .addresses import Address, WrapsSocket
from .waiting import complete

# RFC 8305 section 5: "One recommended value for a default delay is 250 milliseconds."
ATTEMPT_DELAY_SECONDS = 0.25

Wait = Callable[[asyncio.Future[Any]], Awaitable[object]]
Prepare = Callable[[socket.socket], object]


class RefusedByAllError(Exception):
    """No address could be connected to."""

    def __init__(self, message: str, causes: list[OSError]) -> None:
        super().__init__(message)
        self.cause = causes[0] if len(causes) == 1 else ExceptionGroup('every address failed', causes)


class Race:
    """Connects to several addresses as RFC 8305 section 5 says: the first to connect wins, the others are closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, addresses: deque[Address], prepare: Prepare | None) -> None:
        self._loop = loop
        self._prepare = prepare
        self._waiting = addresses
        self._running: dict[int, tuple[socket.socket, Address]] = {}
        self._failures: list[tuple[object, OSError]] = []
        self._silent: list[object] = []
        self._mistake: BaseException | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._winner: tuple[socket.socket, Address] | None = None
        self._over: asyncio.Future[None] = loop.create_future()
        self._process = os.getpid()

    async def run(self, wait: Wait) -> tuple[socket.socket, Address]:
        """The socket of the winner, and its address. Left in any other way, no socket stays open."""
        try:
            self._start_next()
            await (wait(self._over) if self._mistake is None else self._over)
        except BaseException:
            if self._winner is not None:
                self._winner[0].close()
            self._silent = [address[1] for _, address in self._running.values()]
            raise
        finally:
            self._end()
        if self._mistake is not None:
            try:
                raise self._mistake
            finally:
                self._mistake = None
        if self._winner is None:
            raise RefusedByAllError(self.told(), [failure for _, failure in self._failures])
        return self._winner

    def told(self) -> str:
        """What each address did, for a message."""
        failures = [f'{address}: {failure}' for address, failure in self._failures]
        return '; '.join(failures + [f'{address}: no answer' for address in self._silent])

    def _start_next(self) -> None:
        self._cancel_timer()
        while self._waiting and self._winner is None:
            address = self._waiting.popleft()
            if self._start(address):
                if self._waiting:
                    self._timer = self._loop.call_later(ATTEMPT_DELAY_SECONDS, self._start_next)
                return
        if self._winner is not None or not self._running:
            self._end()

    def _start(self, address: Address) -> bool:
        """Begin to connect. False where it failed, or won, at once; what is no failure but a mistake ends the race."""
        family, sockaddr = address
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as failure:
            self._failures.append((sockaddr, failure.with_traceback(None)))
            return False
        fd = sock.fileno()
        try:
            sock.setblocking(False)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._prepare is not None:
                self._prepare(sock)
            sock.connect(sockaddr)
        except OSError as failure:
            # EAGAIN is raised as BlockingIOError too: the queue of a Unix socket is full, and nothing is in progress.
            if failure.errno == errno.EINPROGRESS:
                self._running[fd] = sock, address
                self._loop.add_writer(fd, self._on_writable, fd)
                return True
            sock.close()
            self._failures.append((sockaddr, failure.with_traceback(None)))
            return False
        except BaseException as mistake:
            sock.close()
            self._mistake = mistake.with_traceback(None)
            self._end()
            return True
        self._won(sock, address)
        return False

    def _won(self, sock: socket.socket, address: Address) -> bool:
        if _is_connected_to_itself(sock):
            # With SO_LINGER on, of 0 seconds, the port is free at once, for who will listen there.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\1\1\1\0\0\0\0')
            sock.close()
            self._failures.append((address[1], OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))))
            return False
        self._winner = sock, address
        return True

    def _on_writable(self, fd: int) -> None:
        sock, address = self._running.pop(fd)
        self._loop.remove_writer(fd)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            sock.close()
            self._failures.append((address[1], OSError(error, os.strerror(error))))
        if not error and self._won(sock, address):
            self._end()
        else:
            self._start_next()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._cancel_timer()
        while self._running:
            fd, (sock, _) = self._running.popitem()
            if os.getpid() == self._process:
                self._loop.remove_writer(fd)
            sock.close()
        complete(self._over)


async def secure(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, context: WrapsSocket, server_hostname: str | None, wait: Wait
) -> socket.socket:
    """Wrap a connected socket and do the handshake. Left in any other way, the socket is closed."""
    try:
        # After a reset this raises, and the socket is still ours to close: SSLContext.wrap_socket would raise as well,
        # but keep it in the traceback.
        sock.getpeername()
        sock = context.wrap_socket(
            sock, server_hostname=server_hostname, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
        sock.setblocking(False)
        while True:
            try:
                replacement = sock.do_handshake()  # type: ignore[attr-defined]  # what wrap_socket returns has it
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as wants:
                await _ready(loop, sock.fileno(), wants, wait)
            else:
                return sock if replacement is None else replacement
    except BaseException:
        sock.close()
        raise


async def _ready(loop: asyncio.AbstractEventLoop, fd: int, wants: ssl.SSLError, wait: Wait) -> None:
    watch, unwatch = loop.add_reader, loop.remove_reader
    if isinstance(wants, ssl.SSLWantWriteError):
        watch, unwatch = loop.add_writer, loop.remove_writer
    ready: asyncio.Future[None] = loop.create_future()
    process = os.getpid()
    watch(fd, complete, ready)
    try:
        await wait(ready)
    finally:
        if os.getpid() == process:
            unwatch(fd)


def _is_connected_to_itself(sock: socket.socket) -> bool:
    """Whether a connect to a port of the ephemeral range, where nobody listens, was given just that port to come from.

    TCP calls that a simultaneous open (RFC 9293 section 3.5).
    """
    is_itself = False
    with contextlib.suppress(OSError):  # the connection may be gone already, and what comes next says how
        is_itself = sock.family != socket.AF_UNIX and sock.getsockname() == sock.getpeername()
    return is_itself
