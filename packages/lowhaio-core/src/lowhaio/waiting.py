"""Waiting on one connected socket: readiness, what TLS asks for, and the timer.

A `Link` owns the socket from the end of the handshake to its close. It knows nothing of HTTP.

Two operations may wait at once, one receive and one send; each is a future that a callback of the loop completes.

    reader registered   from the first wait to the close, but for the times in which bytes come and nobody wants them
    writer registered   only while something waits for it
    timer               one for both operations; it is never moved, it finds out when it fires whether it was too early

The bytes of a receive are put into `kept` and the future completed without them, so that a wait that is cancelled
between the two loses nothing: the next receive takes them.
"""

import asyncio
import contextlib
import select
import socket
import ssl
import sys
from typing import Any

# One turn of the loop after so many receives or sends that did not have to wait: at 64 KiB each this is every
# megabyte, often enough for other tasks and rare enough not to be seen in the throughput of one transfer.
CALLS_PER_TURN = 16

# A head is taken off what was received piece by piece, each time with a copy of the rest. A receive of this size keeps
# that cheap for a flood of interim responses too, whatever `chunk_bytes` is.
HEAD_BYTES = 65536

# RFC 8446 section 5.1: a record holds at most 2^14 bytes. CPython's SSLSocket.send writes record after record and says
# want-write without telling how many went out, so it gets one at a time: then want-write means that the server can
# read nothing of it yet, and what was sent is known.
TLS_RECORD_BYTES = 16384

_NOTHING_TO_READ = (BlockingIOError, ssl.SSLWantReadError)
_NO_ROOM_TO_WRITE = (BlockingIOError, ssl.SSLWantWriteError)


class WaitTimeoutError(Exception):
    """The time of a wait is over."""


class AbandonedError(Exception):
    """The block of the connection or of the pool was left while something waited in it."""


class BusyError(Exception):
    """Somebody waits for the same thing already."""


class EndedError(Exception):
    """The other side closed the stream in order."""


class Link:
    """One connected socket, its TLS included, and the bytes received from it that nobody took yet."""

    __slots__ = (
        '_calls', '_fd', '_poll', '_recv_bytes', '_recv_deadline', '_recv_needs_room', '_send_deadline',
        '_send_needs_bytes', '_send_waiter', '_timer', '_writing', 'bytes_received', 'bytes_sent', 'chunk_bytes',
        'closed', 'drained', 'end_is_failure', 'failure', 'head_bytes', 'idle_order', 'idle_until',
        'kept', 'loop', 'origin', 'owner', 'reading', 'recv_waiter', 'requests_left', 'reused', 'send_bytes',
        'sock', 'unread', 'wait_seconds',
    )  # fmt: skip

    def __init__(
        self, owner: Any, loop: asyncio.AbstractEventLoop, sock: socket.socket, origin: Any, poll: select.poll,
        chunk_bytes: int, wait_seconds: float, requests: int,
    ) -> None:  # fmt: skip
        self.loop = loop
        self.sock = sock
        # Whatever hands bytes on to an SSLSocket may tell as little of them as the SSLSocket does.
        self.send_bytes = sys.maxsize if getattr(type(sock), 'send', None) is socket.socket.send else TLS_RECORD_BYTES
        self.chunk_bytes = chunk_bytes
        self.head_bytes = self._recv_bytes = min(chunk_bytes, HEAD_BYTES)
        self.wait_seconds = wait_seconds

        # What the pool keeps of it.
        self.origin = origin
        self.requests_left = requests
        self.reused = False
        self.idle_until = 0.0  # so while it is not idle
        self.idle_order = 0
        self.owner = owner

        # What was received: `unread` belongs to the exchange, `kept` comes after it.
        self.unread = b''
        self.kept: bytes | bytearray | None = None
        # A socket tells of a reset once and then of a clean end, so what it raised first is what holds from then on. An
        # end is remembered as well: once a close_notify was received, only OpenSSL knows, which `silent` may not ask.
        self.failure: Exception | None = None
        self.end_is_failure: Exception | type[EndedError] | None = None
        self.bytes_sent = self.bytes_received = 0

        self.closed = self.drained = self.reading = self._writing = False
        self._fd = sock.fileno()
        self._poll = poll
        self.recv_waiter: asyncio.Future[Any] | None = None
        self._send_waiter: asyncio.Future[Any] | None = None
        self._recv_needs_room = self._send_needs_bytes = False
        self._recv_deadline = self._send_deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._calls = 0

    # ---- receiving

    async def receive(self, size: int) -> bytes:
        """The next bytes: at most `size` of them, or what was kept.

        Raises `EndedError` at the end of the stream, what the socket raised, `WaitTimeoutError` after `wait_seconds`
        without a byte, and `BusyError` where another task waits in here. Cancelling it loses no byte.
        """
        if self.recv_waiter is not None:
            raise BusyError('another task is receiving')
        self._recv_bytes = size
        while self.kept is None:
            if self.failure is not None:
                raise self.failure
            if not self.drained and self._calls < CALLS_PER_TURN:
                self._calls += 1
                self.kept = self._try_receive(size)
                continue
            loop = self.loop
            waiter = self.recv_waiter = loop.create_future()
            self._calls = 0
            self._recv_deadline = loop.time() + self.wait_seconds
            if not self.drained:
                loop.call_soon(complete, waiter)
            elif not self.reading and not self._recv_needs_room:
                self.watch()
            if self._timer is None:
                self._timer = loop.call_at(self._recv_deadline, self._on_timer)
            try:
                outcome = await waiter
            finally:
                self.recv_waiter = None
            if outcome is WaitTimeoutError:
                raise WaitTimeoutError
        data, self.kept = self.kept, None
        if not data:
            raise self.end_is_failure or EndedError
        return data if isinstance(data, bytes) else bytes(data)

    def silent(self) -> bool:
        """Of a link all whose bytes were taken: whether there is nothing to receive. If there is, it is of no more use.

        The kernel is asked first, as a receive takes longer to say that it would block. Where OpenSSL holds bytes, or
        what wraps the socket might, that does not tell.
        """
        sock = self.sock
        if self.send_bytes > TLS_RECORD_BYTES or (type(sock) is ssl.SSLSocket and not sock.pending()):
            poll = self._poll
            poll.register(self._fd, select.POLLIN)
            told = poll.poll(0)
            poll.unregister(self._fd)
            if not told:
                self.drained = True
                return True
        try:
            self.kept = sock.recv(1)
            self.bytes_received += len(self.kept)
        except _NOTHING_TO_READ:
            self.drained = True
            return True
        except Exception as failure:
            self.failure = failure.with_traceback(None)
        return False

    def watch(self) -> None:
        """Have the loop tell when something can be received."""
        if not self.reading:
            self.reading = True
            self.loop.add_reader(self._fd, self._on_readable)

    def _try_receive(self, size: int) -> bytes | None:
        """Receive without waiting; None where nothing is there yet, or never will be: then `failure` says why."""
        try:
            data = self.sock.recv(size)
        except _NOTHING_TO_READ:
            self._recv_needs_room = False
            self.drained = True
            return None
        except ssl.SSLWantWriteError:
            self._recv_needs_room = True
            self._watch_writable()
            self.drained = True
            return None
        except Exception as failure:
            self.failure = failure.with_traceback(None)
            self._wake_sender()
            return None
        self.bytes_received += len(data)
        self.drained = False
        if self._send_waiter is not None:
            self._send_deadline = self.loop.time() + self.wait_seconds
        if not data:
            self.end_is_failure = self.end_is_failure or EndedError
        return data

    def _on_readable(self) -> None:
        if self._send_needs_bytes:
            self._wake_sender()
        receiver, sender = self.recv_waiter, self._send_waiter
        if receiver is not None and receiver.done():
            receiver = None
        if receiver is not None and not self._recv_needs_room:
            self.kept = self._try_receive(self._recv_bytes)
            if self.kept is not None or self.failure is not None:
                receiver.set_result(None)
        elif self.idle_until:
            self.owner.on_unasked(self)
        elif receiver is None and sender is not None and not sender.done() and len(self.kept or b'') < self.head_bytes:
            self._keep()
        else:
            self._pause()

    def _keep(self) -> None:
        """Receive while a send waits: the server may answer before it has read the request, and then reset."""
        kept = self.kept if isinstance(self.kept, bytearray) else bytearray(self.kept or b'')
        data = self._try_receive(self.head_bytes - len(kept))
        if data:
            kept += data
            self.kept = kept
        elif data is not None or self.failure is not None or self._recv_needs_room:
            self._pause()

    def _pause(self) -> None:
        if self.reading:
            self.reading = False
            self.loop.remove_reader(self._fd)

    # ---- sending

    def try_send(self, data: bytes | memoryview) -> int:
        """Send without waiting; how many bytes the socket took. Where a receive has failed, so does this."""
        if self.failure is not None:
            raise self.failure
        try:
            if len(data) <= self.send_bytes:
                sent = self.sock.send(data)
            else:
                with memoryview(data)[: self.send_bytes] as record:
                    sent = self.sock.send(record)
        except _NO_ROOM_TO_WRITE:
            self._send_needs_bytes = False
            return 0
        except ssl.SSLWantReadError:
            self._send_needs_bytes = True
            return 0
        except Exception as failure:
            # A socket tells of a reset once. As a send was told, the end of the stream proves no body whole.
            self.end_is_failure = failure.with_traceback(None)
            self.drained = False
        else:
            self.bytes_sent += sent
            if self.recv_waiter is not None:
                self._recv_deadline = self.loop.time() + self.wait_seconds
            return sent
        raise self._refusal() or self.end_is_failure

    def _refusal(self) -> Exception | None:
        """What a server of TLS said before it closed, such as that it wants a certificate."""
        if self.recv_waiter is None and self.kept is None:
            self.kept = self._try_receive(self.head_bytes)
        return None if isinstance(self.failure, OSError) and is_lost(self.failure) else self.failure

    async def send_rest(self, data: bytes | memoryview, sent: int) -> None:
        """Send what comes after the bytes sent, waiting where the socket is full.

        Raises what the socket raised, also while it was received from, and `WaitTimeoutError` after `wait_seconds` in
        which it took no byte. Cancelled or failed, an unknown part of `data` was sent.
        """
        stalled = False
        while sent < len(data):
            with memoryview(data)[sent:] as rest:
                taken = self.try_send(rest)
            sent += taken
            if taken:
                stalled = False
                self._calls += 1
                if self._calls >= CALLS_PER_TURN:
                    self._calls = 0
                    await asyncio.sleep(0)
                continue
            self._calls = 0
            if not stalled:
                stalled = True
                self._send_deadline = self.loop.time() + self.wait_seconds
            elif self.loop.time() >= self._send_deadline:
                raise WaitTimeoutError
            waiter = self._send_waiter = self.loop.create_future()
            if not self._send_needs_bytes:
                self._watch_writable()
            self.watch()
            if self._timer is None:
                self._timer = self.loop.call_at(self._send_deadline, self._on_timer)
            try:
                outcome = await waiter
            finally:
                self._send_waiter = None
            if outcome is WaitTimeoutError:
                raise WaitTimeoutError

    def _watch_writable(self) -> None:
        if not self._writing:
            self._writing = True
            self.loop.add_writer(self._fd, self._on_writable)

    def _on_writable(self) -> None:
        self._writing = False
        self.loop.remove_writer(self._fd)
        if not self._send_needs_bytes:
            self._wake_sender()
        if self._recv_needs_room:
            self._recv_needs_room = False
            self.watch()
            self._on_readable()

    def _wake_sender(self) -> None:
        self._send_needs_bytes = False
        if self._send_waiter is not None:
            complete(self._send_waiter)

    # ---- the timer, and the end

    def _on_timer(self) -> None:
        self._timer = None
        now = self.loop.time()
        earliest = 0.0
        for waiter, deadline in ((self.recv_waiter, self._recv_deadline), (self._send_waiter, self._send_deadline)):
            if waiter is None or waiter.done():
                continue
            if deadline <= now:
                waiter.set_result(WaitTimeoutError)
            else:
                earliest = min(earliest or deadline, deadline)
        if earliest:
            self._timer = self.loop.call_at(earliest, self._on_timer)

    def limit(self, seconds: float) -> None:
        """Let a wait last so many seconds from here on, counted from its last byte of progress."""
        longer = seconds - self.wait_seconds
        self.wait_seconds = seconds
        self._recv_deadline += longer
        self._send_deadline += longer
        if self._timer is not None:
            self._timer.cancel()
            self._on_timer()

    def forget(self) -> None:
        """Close this process's copy of what another one, of which this is a fork, still uses with the same loop."""
        self.closed = True
        self.reading = self._writing = False
        self.sock.close()
        self.failure = AbandonedError('this is a fork of the process that connected')

    def close(self, left: str = 'block') -> None:
        """Say close_notify without waiting for the other side's, and close. Who waits in here learns what was left."""
        if self.closed:
            return
        self.closed = True
        self._pause()
        if self._writing:
            self._writing = False
            self.loop.remove_writer(self._fd)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with contextlib.suppress(Exception):
            self.sock.unwrap()  # type: ignore[attr-defined]  # what wrap_socket returns has it
        self.sock.close()
        self.failure = AbandonedError(f'the {left} was left')
        self.kept = None
        self.drained = True
        for waiter in (self.recv_waiter, self._send_waiter):
            if waiter is not None:
                complete(waiter)


def is_lost(failure: OSError) -> bool:
    """Whether it tells of a lost connection: what is not of TLS, and two of TLS that say no more than that."""
    return not isinstance(failure, ssl.SSLError) or isinstance(failure, (ssl.SSLEOFError, ssl.SSLZeroReturnError))


def complete(waiter: asyncio.Future[Any], result: object = None) -> None:
    """Let whoever waits go on, unless the wait has ended already.

    A wait ends with a result, never with an exception: a future, its exception and the frame that awaits it would hold
    each other, and all that the frame holds, until the collector comes.
    """
    if not waiter.done():
        waiter.set_result(result)
