"""Places, waiters and idle connections.

A pool has `max` places. At each moment a place is exactly one of

    free         counted in `_free`
    idle         a link in `_idle`, oldest first, and in the stack of its key
    granted      the result of a waiter's future; if the waiter can't use it, it passes it on in the same step
    held         by the `async with` of one `Connection`, from before the connect to the end of the block

and while anybody waits, none is free or idle: whoever gives a place back grants it to the first in the queue.
"""

import asyncio
import functools
import os
import select
import socket
import sys
import weakref
from collections.abc import Iterable
from typing import Any, Self

from . import errors, exchange
from .addresses import Address, AddressInfo, Key, Origin, Target, WrapsSocket, alternated, not_addresses
from .connecting import Race, RefusedByAllError, secure
from .grammar import Framing
from .waiting import AbandonedError, Link, WaitTimeoutError, complete, is_lost

_OUTSIDE, _IDLE, _, _HEADERS, _BODY = exchange.Phase
_ENDINGS = (WaitTimeoutError, AbandonedError)
_NOT_TLS = ('WRONG_VERSION_NUMBER', 'RECORD_LAYER_FAILURE')  # how versions of OpenSSL call it
_CHUNK_BYTES_MAX = 2**31 - 1  # what OpenSSL takes for the size of a receive


def connection_pool(
    *,
    max: int,  # noqa: A002  the name is the specification's
    max_wait_connection_seconds: float,
    max_requests_per_connection: int,
    max_idle_seconds: float,
    max_wait_send_recv_seconds: float,
    chunk_bytes: int,
) -> 'Pool':
    """A pool of connections, for `async with`. There are no defaults: none suits every program.

    Leaving the block closes every connection, idle or in use, and whoever waits in the pool gets an error at once.
    The pool belongs to the event loop in which its block is entered.

    Args:
        max: Connections at most: in use, idle and being opened.
        max_wait_connection_seconds: Seconds for the wait for a place, the connect and the TLS handshake together.
        max_requests_per_connection: Requests after which a connection is not used again.
        max_idle_seconds: Seconds after which an unused connection is closed; 0 keeps none.
        max_wait_send_recv_seconds: Seconds that a send or a receive may go on without a byte of progress.
        chunk_bytes: Bytes that one receive asks for at most.

    Raises:
        TypeError: A setting is not a number of the right type.
        ValueError: A setting is out of range.

    """
    return Pool(
        checked_integer('max', max),
        checked_seconds('max_wait_connection_seconds', max_wait_connection_seconds),
        checked_integer('max_requests_per_connection', max_requests_per_connection),
        checked_seconds('max_idle_seconds', max_idle_seconds, zero=True),
        checked_seconds('max_wait_send_recv_seconds', max_wait_send_recv_seconds),
        checked_integer('chunk_bytes', chunk_bytes, most=_CHUNK_BYTES_MAX),
    )


def checked_integer(name: str, value: object, *, most: int | None = None) -> int:
    """The value of a setting, which has to be a whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f'{name} must be an int, not {value!r}')
    if value < 1:
        raise ValueError(f'{name} must be at least 1, not {value}')
    if most is not None and value > most:
        raise ValueError(f'{name} must be at most {most}, not {value}')
    return value


def checked_seconds(name: str, value: object, *, zero: bool = False) -> float:
    """The value of a setting, which has to be a finite number of seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f'{name} must be a number of seconds, not {value!r}')
    if not 0 <= value <= sys.float_info.max or (value == 0 and not zero):
        raise ValueError(f'{name} must be a finite number of seconds {"from" if zero else "over"} 0, not {value}')
    return value


class Connection(exchange.Exchange):
    """One block's hold on a connection, made by `Pool.connection` for its functions.

    For callers are the attributes told here, and nothing else is.

    Attributes:
        reused: Whether an earlier request went over the same connection.

    """

    __slots__ = ('_pool', '_seconds', '_target')

    def __init__(self, pool: 'Pool', target: Target, seconds: tuple[float | None, float | None]) -> None:
        self.phase = _OUTSIDE
        self.figures = 0, 0
        self.reused = False
        self._pool = pool
        self._target: Target | None = target
        self._seconds = seconds

    @property
    def chunked(self) -> bool:
        """Whether what `recv_body` yields is in the chunked coding (RFC 9112 section 6.3). Known after the headers.

        False where there is no body, whatever the headers say: after `HEAD`, 204 and 304. Raises `LocalProtocolError`
        before the end of the headers.
        """
        if self.phase is not _BODY:
            raise self.misused('chunked')
        return self.framing is Framing.CHUNKED

    @property
    def status_line(self) -> bytes:
        """The status line as received, without its CRLF: for its version and its reason.

        Raises `LocalProtocolError` before one was received.
        """
        if self.phase not in (_HEADERS, _BODY):
            raise self.misused('status_line')
        return self.line

    @property
    def max_wait_send_recv_seconds(self) -> float:
        """Seconds without a byte of progress, of this block. It begins with the pool's, and can be set.

        Set, it takes effect at once, also for what waits already: counted from its last byte of progress. The next
        block begins with the pool's again. Raises `LocalProtocolError` outside of the block.
        """
        return self.held('max_wait_send_recv_seconds').wait_seconds

    @max_wait_send_recv_seconds.setter
    def max_wait_send_recv_seconds(self, seconds: float) -> None:
        link = self.held('max_wait_send_recv_seconds')
        if seconds != link.wait_seconds:
            checked_seconds('max_wait_send_recv_seconds', seconds)
            link.limit(seconds)

    @property
    def socket(self) -> socket.socket:
        """The connected socket, an `ssl.SSLSocket` over TLS: for its addresses, certificate and ALPN protocol.

        Raises `LocalProtocolError` outside of the block.
        """
        return self.held('socket').sock

    async def __aenter__(self) -> Self:
        target, self._target = self._target, None
        if target is None:
            raise errors.of_kind(
                errors.LocalProtocolError, 'this block was entered already: call pool.connection once for each'
            )
        pool = self._pool
        if not pool.usable or asyncio.get_running_loop() is not pool.loop:
            raise pool.misused()
        link = self.link = pool.take_idle(target) or await pool.acquire(target, *self._seconds)
        link.bytes_sent = link.bytes_received = 0
        self.reused = link.reused
        self.phase = _IDLE
        return self

    async def __aexit__(self, *_: object) -> None:
        link = self.link
        is_reusable = self.may_be_followed()
        self.phase = _OUTSIDE
        self.headers = exchange.OVER
        self.figures = link.bytes_sent, link.bytes_received
        if is_reusable:
            self._pool.grant(link)
        else:
            self._pool.drop(link)


class Pool:
    """What `connection_pool` returns: an asynchronous context manager that yields itself."""

    send = staticmethod(exchange.send)
    recv_status_line = staticmethod(exchange.recv_status_line)
    recv_headers = staticmethod(exchange.recv_headers)
    recv_body = staticmethod(exchange.recv_body)

    def __init__(
        self, places: int, connect_seconds: float, requests: int, idle_seconds: float, wait_seconds: float,
        chunk_bytes: int,
    ) -> None:  # fmt: skip
        self._places = self._free = places
        self._connect_seconds = connect_seconds
        self._requests = requests
        self._idle_seconds = idle_seconds
        self._wait_seconds = wait_seconds
        self._chunk_bytes = chunk_bytes
        self.loop: asyncio.AbstractEventLoop
        self._entered = self.usable = False
        self._links: set[Link] = set()
        self._idle: dict[Link, None] = {}
        self._origins: weakref.WeakValueDictionary[Key, Origin] = weakref.WeakValueDictionary()
        self._idle_order = 0
        self._poll = select.poll()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._queue: dict[asyncio.Future[Any], Target] = {}
        self._waits: set[asyncio.Future[Any]] = set()
        self._target: Target | None = None

    async def __aenter__(self) -> Self:
        if self._entered:
            raise errors.of_kind(errors.LocalProtocolError, 'the block of this pool was entered already')
        loop = asyncio.get_running_loop()
        if getattr(type(loop), 'add_reader', None) in (None, asyncio.AbstractEventLoop.add_reader):
            raise errors.of_kind(
                errors.LocalProtocolError,
                f'{type(loop).__name__} has no add_reader: run the program on asyncio.SelectorEventLoop or uvloop',
            )
        self.loop = loop
        self._entered = self.usable = True
        _entered.add(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.usable = False
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        for future in [*self._waits]:
            complete(future, AbandonedError)
        for link in [*self._links]:
            link.close('pool')
        self._links.clear()
        self._idle.clear()

    def connection(
        self,
        ip_address: str | Iterable[AddressInfo],
        port: int,
        ssl_context: WrapsSocket,
        *,
        server_hostname: str | None = None,
        max_wait_place_seconds: float | None = None,
        max_wait_connect_seconds: float | None = None,
    ) -> Connection:
        """A connection, for `async with`: an idle one that fits, or a new one.

        An idle connection fits if its address is among these, and port, `ssl_context` object and `server_hostname` are
        the same. The one used last goes out first. Several addresses are raced as in RFC 8305. Leaving the block keeps
        the connection for reuse if the response ended just where its framing says and nobody asked to close; else it
        is closed.

        Args:
            ip_address: What `await loop.getaddrinfo(host, port)` returned, or one IP address. `AF_UNIX` entries work.
            port: The port, for every address; not used for `AF_UNIX`.
            ssl_context: An `ssl.SSLContext`, or any object with its `wrap_socket`, such as `NonSSLContext`.
            server_hostname: The host name for SNI and for the check of the certificate.
            max_wait_place_seconds: Seconds for the wait for a place, in place of the pool's limit.
            max_wait_connect_seconds: Seconds for the connect and the handshake, counted from when there is a place, in
                place of the pool's limit.

        Raises:
            PoolTimeoutError: No place came free in time.
            ConnectError: No address could be connected to.
            ConnectTimeoutError: Connect and handshake took too long.
            TLSError: The handshake failed, or the certificate was refused.
            ClosedError: The server closed the connection during the handshake.
            LocalProtocolError: The pool is not entered, was left, or belongs to another loop; or this block was entered
                before.
            TypeError: `ssl_context` has no `wrap_socket`.
            ValueError: There is no usable address, the port is out of range, or the context checks host names and there
                is none to check.

        Cancelled while it is entered, its place goes to the next waiter, with the connection if it was granted one, and
        a socket that is being opened is closed.

        """
        try:
            entries = ip_address if isinstance(ip_address, str) else tuple(ip_address)
        except TypeError:
            raise not_addresses(ip_address) from None
        target, asked = self._target, (entries, port, server_hostname)
        if target is None or target.context is not ssl_context or target.asked != asked:
            target = self._target = Target(asked, ssl_context, self._origins)
        if max_wait_place_seconds is not None:
            checked_seconds('max_wait_place_seconds', max_wait_place_seconds)
        if max_wait_connect_seconds is not None:
            checked_seconds('max_wait_connect_seconds', max_wait_connect_seconds)
        return Connection(self, target, (max_wait_place_seconds, max_wait_connect_seconds))

    def forget(self) -> None:
        """In a fork of the process: leave the connections, the loop and the places to the process that entered."""
        self.usable = False
        self._waits.clear()
        for link in self._links:
            link.forget()

    # ---- what a Connection asks for

    def misused(self) -> errors.LowhaioError:
        """The error of a pool that is not entered, was left, or belongs to another loop."""
        if not self._entered:
            reason = 'enter the block of this pool first: async with lowhaio.connection_pool(...) as pool'
        elif not self.usable:
            reason = 'the block of this pool was left, or this is a fork of the process that entered it'
        else:
            reason = 'this pool belongs to another event loop: make one for each loop'
        return errors.of_kind(errors.LocalProtocolError, reason)

    def take_idle(self, target: Target) -> Link | None:
        """The idle connection used last of those that fit and are still silent."""
        while True:
            newest: Link | None = None
            for origin in target.origins:
                if origin.idle and (newest is None or origin.idle[-1].idle_order > newest.idle_order):
                    newest = origin.idle[-1]
            if newest is None:
                return None
            until = newest.idle_until
            self._take_out(newest)
            if until > self.loop.time() and newest.silent():
                return newest
            self.drop(newest)

    async def acquire(self, target: Target, place_seconds: float | None, connect_seconds: float | None) -> Link:
        """Wait for a place, and open a connection if it comes without one."""
        addresses = target.addresses()
        begun = self.loop.time()
        link = await self._place(target, begun, self._connect_seconds if place_seconds is None else place_seconds)
        if link is not None:
            return link
        if not self.usable:
            raise self.misused()
        try:
            if connect_seconds is None:
                return await self._open(addresses, target, begun, self._connect_seconds)
            return await self._open(addresses, target, self.loop.time(), connect_seconds)
        except BaseException:
            self.grant(None)
            raise

    def drop(self, link: Link) -> None:
        """Close a connection, and give its place on."""
        self._close(link)
        self.grant(None)

    # ---- places

    async def _place(self, target: Target, begun: float, seconds: float) -> Link | None:
        """Own a place: with a connection that fits, or without one."""
        if self._free:
            self._free -= 1
            return None
        if self._idle:
            oldest = next(iter(self._idle))
            self._take_out(oldest)
            self._close(oldest)
            return None
        turn: asyncio.Future[Any] = self.loop.create_future()
        self._queue[turn] = target
        try:
            link: Link | None = await self._wait(begun + seconds, turn)
        except WaitTimeoutError:
            raise errors.PoolTimeoutError(f'no place in {seconds} seconds: all {self._places} are taken') from None
        except AbandonedError as abandoned:
            raise errors.of_kind(errors.LocalProtocolError, f'waiting for a place: {abandoned}') from None
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.result() not in _ENDINGS:
                self.grant(turn.result())
            raise
        finally:
            self._queue.pop(turn, None)
        if link is not None and (link.closed or not link.silent()):
            self._close(link)
            return None
        return link

    def grant(self, link: Link | None) -> None:
        """Give a place, with a connection or without, to whoever waits longest; else keep it."""
        if link is not None and link.wait_seconds is not self._wait_seconds:
            link.limit(self._wait_seconds)
        while self._queue:
            turn = next(iter(self._queue))
            target = self._queue.pop(turn)
            if turn.done():
                continue
            if link is not None and link.origin not in target.origins:
                self._close(link)
                link = None
            turn.set_result(link)
            return
        if link is None or not self.usable or not self._idle_seconds:
            if link is not None:
                self._close(link)
            self._free += 1
            return
        link.idle_until = self.loop.time() + self._idle_seconds
        link.idle_order = self._idle_order = self._idle_order + 1
        self._idle[link] = None
        link.origin.idle.append(link)
        if not link.reading:
            link.watch()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_at(link.idle_until, self._on_idle_timer)

    async def _wait(self, deadline: float, future: asyncio.Future[Any]) -> Any:
        """Await a future until the deadline, or until the pool is left."""
        result: Any = WaitTimeoutError if self.usable else AbandonedError
        if self.usable and self.loop.time() < deadline:
            timer = self.loop.call_at(deadline, complete, future, WaitTimeoutError)
            self._waits.add(future)
            try:
                result = await future
            finally:
                self._waits.discard(future)
                timer.cancel()
        if result is WaitTimeoutError:
            raise WaitTimeoutError
        if result is AbandonedError:
            raise AbandonedError('the pool was left')
        return result

    # ---- connections

    async def _open(self, addresses: dict[Address, Origin], target: Target, begun: float, seconds: float) -> Link:
        wait = functools.partial(self._wait, begun + seconds)
        race = Race(self.loop, alternated(addresses), getattr(target.context, 'prepare_socket', None))
        doing = 'connecting'
        try:
            sock, address = await race.run(wait)
            doing = f'handshake with {address[1]}'
            # The name for TLS is "represented [...] without a trailing dot" (RFC 6066 section 3).
            server_name = target.server_hostname and target.server_hostname.removesuffix('.')
            sock = await secure(self.loop, sock, target.context, server_name, wait)
        except WaitTimeoutError:
            told = f' ({race.told()})' if doing == 'connecting' else ''
            raise errors.ConnectTimeoutError(f'{doing}: not done within {seconds} seconds{told}') from None
        except AbandonedError as abandoned:
            raise errors.of_kind(errors.LocalProtocolError, f'{doing}: {abandoned}') from None
        except RefusedByAllError as refused:
            raise errors.ConnectError(f'no address could be connected to: {refused}') from refused.cause
        except OSError as failure:
            failure.__traceback__ = None
            if getattr(failure, 'reason', None) in _NOT_TLS:
                doing += ', which did not answer with TLS (is this a port for plain HTTP?)'
            raise errors.of_kind(
                errors.ClosedError if is_lost(failure) else errors.TLSError, f'{doing}: {failure}'
            ) from failure
        if not self.usable:
            sock.close()
            raise self.misused()
        origin = addresses[address]
        link = Link(self, self.loop, sock, origin, self._poll, self._chunk_bytes, self._wait_seconds, self._requests)
        self._links.add(link)
        return link

    def _close(self, link: Link) -> None:
        link.close()
        self._links.discard(link)

    # ---- idle connections

    def _take_out(self, link: Link) -> None:
        link.idle_until = 0.0
        del self._idle[link]
        idle = link.origin.idle
        if idle[-1] is link:
            idle.pop()
        else:
            idle.remove(link)

    def on_unasked(self, link: Link) -> None:
        """Something can be received from an idle link."""
        if not link.silent():
            self._take_out(link)
            self.drop(link)

    def _on_idle_timer(self) -> None:
        self._idle_timer = None
        now = self.loop.time()
        while self._idle:
            oldest = next(iter(self._idle))
            if oldest.idle_until > now:
                self._idle_timer = self.loop.call_at(oldest.idle_until, self._on_idle_timer)
                return
            self._take_out(oldest)
            self.drop(oldest)


_entered: weakref.WeakSet[Pool] = weakref.WeakSet()


def _forget_in_a_fork() -> None:
    for pool in _entered:
        pool.forget()


os.register_at_fork(after_in_child=_forget_in_a_fork)
