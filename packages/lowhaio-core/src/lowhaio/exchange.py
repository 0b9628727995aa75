"""One request and its response: `send`, `recv_status_line`, `recv_headers`, `recv_body`.

An `Exchange` is the state, the four functions are what moves it, and nothing else does: a generator that is abandoned
or collected late has nothing of its own to lose.

    IDLE ──send──▶ STATUS ──recv_status_line──▶ HEADERS ──recv_headers to its end──▶ BODY
                     ▲                             │                                   │
                     ├───────── 1xx but 101 ───────┘                                   │
                     └──send, where the response is complete and may be followed───────┘

`complete` is apart from these, as it is known early: as soon as the last byte of the response was received.
"""

import enum
import ssl
from collections.abc import AsyncGenerator, Iterator
from typing import NoReturn

from .errors import (
    ClosedError,
    LocalProtocolError,
    LowhaioError,
    RemoteProtocolError,
    TLSError,
    TransferTimeoutError,
    of_kind,
)
from .grammar import (
    STATUS_LINE,
    Header,
    RefusedError,
    RequestFraming,
    ResponseFraming,
    is_bare_request,
    parse_headers,
    shown,
    split_lines,
)
from .waiting import AbandonedError, BusyError, Link, WaitTimeoutError


class Phase(enum.Enum):
    """Which function is next."""

    OUTSIDE = 'outside of its block'
    IDLE = 'before a request: send comes next'
    STATUS = 'before a status line: recv_status_line comes next'
    HEADERS = 'before the end of the headers: recv_headers comes next'
    BODY = 'after the headers: recv_body comes next'


class Framing(enum.Enum):
    """What ends the body (RFC 9112 section 6.3)."""

    LENGTH = 'as many bytes as were announced, or none'
    CHUNKED = 'what the caller finds in the chunks'
    CLOSE = 'the end of the stream'


_OUTSIDE, _IDLE, _STATUS, _HEADERS, _BODY = Phase


class Exchange:
    """The state of one request and its response on a link that its owner lends."""

    __slots__ = (
        'code',
        'complete',
        'cursor',
        'framing',
        'headers',
        'is_connect',
        'is_head',
        'left',
        'link',
        'minor',
        'persists',
        'phase',
        'phase_after_headers',
        'request',
        'reused',
        'seen',
        'sending',
        'serial',
        'taken',
    )

    link: Link

    def __init__(self) -> None:
        self.phase = _OUTSIDE
        self.reused = False
        self.sending = False
        self.complete = False
        self.cursor = 0
        self.serial = 0

    def lend(self, link: Link) -> None:
        """Begin a block: until `take_back`, this exchange alone moves the link."""
        self.link = link
        self.reused = link.reused
        self.phase = _IDLE
        link.bytes_sent = link.bytes_received = 0

    def take_back(self) -> Link:
        """End the block."""
        self.phase = _OUTSIDE
        self.serial += 1
        return self.link

    def may_be_followed(self) -> bool:
        """Whether another request may follow on this connection; in doubt not."""
        link = self.link
        if self.sending or link.requests_left < 1 or not link.at_rest():
            return False
        if self.phase is _IDLE:
            return True
        request = self.request
        if request is not None and (request.close or request.doubtful or not request.whole):
            return False
        return self.complete and self.persists

    # ---- the request

    def begin(self, data: bytes | memoryview) -> None:
        """The first bytes of a request."""
        link = self.link
        again = self.phase is not _IDLE
        if again and not self.may_be_followed():
            raise self.error(LocalProtocolError, 'this connection takes no other request: leave its block')
        start = data if isinstance(data, bytes) else bytes(data[: link.chunk_bytes])
        method = start[: start.find(b' ') + 1]
        if len(method) < 2:
            raise self.error(
                LocalProtocolError, f'the first send of a request holds its method and a space, not {shown(start)}'
            )
        self.reused = link.reused
        self.phase = _IDLE
        link.bytes_sent = link.bytes_received = 0
        # RFC 9112 section 9.2: what is received with no request outstanding is not a response to the next one.
        if (again or not link.reading) and not link.silent():
            self.fail_unasked()
        link.reused = True
        link.requests_left -= 1
        self.request = None if is_bare_request(start) and len(start) == len(data) else RequestFraming(link.chunk_bytes)
        if self.request is not None:
            self.request.feed(data)
        self.is_head = method == b'HEAD '
        self.is_connect = method == b'CONNECT '
        self.complete = False
        self.cursor = self.taken = 0
        self.phase = _STATUS
        self.serial += 1

    def go_on(self, data: bytes | memoryview) -> None:
        """More bytes of the request that began."""
        if self.phase is _OUTSIDE:
            raise self.misused('send')
        if self.request is None:
            self.request = RequestFraming(0)
            self.request.whole = True
        self.request.feed(data)

    # ---- the response

    async def receive(self, awaited: str) -> bytes:
        """The next bytes, or the error that there are none."""
        try:
            data = await self.link.receive()
        except Exception as failure:
            self.fail(failure, awaited)
        if not data:
            raise self.error(ClosedError, f'the server closed the connection before {awaited}')
        return data

    async def receive_line(self, awaited: str) -> None:
        """Have a whole line in `unread`. Each byte is looked at once, however slowly they come."""
        link = self.link
        if not link.unread:
            link.unread = await self.receive(awaited)
        if b'\n' in link.unread:
            return
        line = bytearray(link.unread)
        try:
            while True:
                if len(line) > link.chunk_bytes + 1:
                    raise self.error(
                        RemoteProtocolError, f'{awaited}: no end after {len(line)} bytes, the limit is {link.chunk_bytes}'
                    )
                data = await self.receive(awaited)
                line += data
                if b'\n' in data:
                    return
        finally:
            link.unread = bytes(line)

    def begin_response(self) -> None:
        """Take the status line off `unread`."""
        link = self.link
        line = STATUS_LINE.match(link.unread)
        if line is None:
            start = link.unread[: link.unread.find(b'\n') + 1]
            raise self.error(RemoteProtocolError, f'not a status line of HTTP/1.0 or HTTP/1.1: {shown(start)}')
        if line.end() - 2 > link.chunk_bytes:
            raise self.error(
                RemoteProtocolError, f'status line of {line.end() - 2} bytes, over the limit of {link.chunk_bytes}'
            )
        self.minor = 0 if line[1] == b'0' else 1
        self.code = line[2]
        self.taken += line.end()
        self.cursor = self.taken
        link.unread = link.unread[line.end() :]
        self.seen = ResponseFraming()
        self.headers: Iterator[Header] = iter(())
        self.phase_after_headers: Phase | None = None
        self.phase = _HEADERS

    def take_headers(self) -> None:
        """Take the header lines off `unread` that are there whole, and the empty line after them."""
        link = self.link
        unread = link.unread
        if unread.startswith(b'\r\n'):
            link.unread = unread[2:]
            self.taken += 2
            self.end_headers()
            return
        end = unread.find(b'\r\n\r\n')
        whole = end >= 0
        if not whole:
            end = unread.rfind(b'\r\n')
        lines = split_lines(unread[:end] if end >= 0 else unread)
        headers = parse_headers(lines, self.taken, link.chunk_bytes)
        self.seen.add(headers)
        self.taken = headers[-1][2]
        link.unread = unread[end + 2 :]
        if whole:
            link.unread = unread[end + 4 :]
            self.taken += 2
            self.end_headers()
        self.headers = iter(headers)

    def end_headers(self) -> None:
        """Decide what ends the body, in the order of RFC 9112 section 6.3."""
        code = self.code
        self.framing = Framing.LENGTH
        self.left = 0
        self.persists = self.seen.persists(self.minor)
        self.phase_after_headers = _BODY
        if code == b'101' or (self.is_connect and code.startswith(b'2')):
            self.framing = Framing.CLOSE
        elif code.startswith(b'1'):
            self.phase_after_headers = _STATUS
            return
        elif self.is_head or code in (b'204', b'304'):
            pass
        elif self.seen.codings:
            self.framing = Framing.CHUNKED if self.seen.chunked() else Framing.CLOSE
        else:
            length = self.seen.content_length()
            if length is None:
                self.framing = Framing.CLOSE
            else:
                self.left = length
        if self.framing is Framing.CLOSE:
            self.persists = False
        self.complete = self.framing is Framing.LENGTH and self.left == 0

    # ---- errors

    def error(self, kind: type[LowhaioError], message: str) -> LowhaioError:
        """An error of this kind with the figures of this exchange."""
        if self.phase is _OUTSIDE:
            return of_kind(kind, message)
        link = self.link
        return of_kind(
            kind, message, bytes_sent=link.bytes_sent, bytes_received=link.bytes_received, reused=self.reused
        )

    def misused(self, function: str, cursor: int | None = None) -> LowhaioError:
        """The error of a function called out of order, or with another cursor than the last one given out."""
        if cursor is None or cursor == self.cursor:
            return self.error(LocalProtocolError, f'{function} called {self.phase.value}')
        return self.error(LocalProtocolError, f'{function} called with cursor {cursor!r}, the last was {self.cursor}')

    def check(self, serial: int) -> None:
        """Stop a generator that outlived its exchange: what it would receive belongs to another."""
        if serial != self.serial:
            raise self.error(LocalProtocolError, 'the exchange of this generator is over')

    def fail(self, failure: Exception, awaited: str) -> NoReturn:
        """Raise what the layer below raised as an error that says what it was for."""
        if isinstance(failure, WaitTimeoutError):
            message = f'{awaited}: not a byte for {self.link.wait_seconds} seconds'
            raise self.error(TransferTimeoutError, message) from None
        if isinstance(failure, (AbandonedError, BusyError)):
            raise self.error(LocalProtocolError, f'{awaited}: {failure}') from None
        if isinstance(failure, ssl.SSLEOFError):
            raise self.error(ClosedError, f'{awaited}: the TLS stream ended without close_notify') from failure
        kind = TLSError if isinstance(failure, ssl.SSLError) else ClosedError
        raise self.error(kind, f'{awaited}: {failure}') from failure

    def fail_unasked(self) -> NoReturn:
        """Raise why a connection that should be silent is not."""
        link = self.link
        if link.failure is not None:
            self.fail(link.failure, 'the request')
        if not link.kept:
            raise self.error(ClosedError, 'the server closed the connection before the request')
        raise self.error(RemoteProtocolError, 'the server sent something before the request')


async def send(connection: Exchange, data: bytes | bytearray | memoryview) -> None:
    """Send bytes of a request, or, after 101 or a 2xx to CONNECT, of the tunnel.

    The first `send` of a request holds at least its method and the space after it, as `HEAD` and `CONNECT` change how
    the response is framed (RFC 9112 section 6.3). Once a response is complete, the next `send` begins the next
    request on the same connection, if both sides allow one.

    Args:
        connection: The connection of the block.
        data: Any bytes-like object; it is not copied. Empty, nothing is done.

    Raises:
        TransferTimeoutError: The socket took no byte for `max_wait_send_recv_seconds`.
        ClosedError: The connection was lost. What was received before stays readable: the server may have answered.
        TLSError: TLS failed.
        RemoteProtocolError: The server sent something before the request.
        LocalProtocolError: Called out of order, or after a `send` that failed or was cancelled.

    Cancelled, an unknown part of `data` was sent: the response can still be received, but nothing more can be sent,
    and leaving the block closes the connection.
    """
    if type(data) is not bytes:
        data = memoryview(data).cast('B')
    if not data:
        return
    if connection.sending:
        raise connection.error(LocalProtocolError, 'an earlier send is under way, failed or was cancelled')
    if connection.phase is _IDLE or (connection.complete and connection.may_be_followed()):
        connection.begin(data)
    else:
        connection.go_on(data)
    connection.sending = True
    link = connection.link
    try:
        sent = link.try_send(data)
        if sent != len(data):
            await link.send_rest(memoryview(data)[sent:])
    except Exception as failure:
        connection.fail(failure, 'send')
    connection.sending = False


async def recv_status_line(connection: Exchange, cursor: int = 0) -> tuple[bytes, int]:
    """Receive a status line (RFC 9112 section 4).

    An interim response (1xx but 101, RFC 9110 section 15.2) is followed by another status line: after its headers
    call this again with the cursor.

    Args:
        connection: The connection of the block.
        cursor: 0, or after an interim response the cursor given out last.

    Returns:
        The status code as three digits, `b'200'`, and the cursor: the number of bytes of this response so far.

    Raises:
        TransferTimeoutError: No byte was received for `max_wait_send_recv_seconds`.
        ClosedError: The connection ended before the line did.
        TLSError: TLS failed.
        RemoteProtocolError: Not a status line of HTTP/1.0 or HTTP/1.1, or longer than `chunk_bytes`.
        LocalProtocolError: Called out of order, or with a cursor that is not the last.

    Cancelled, nothing is lost: it can be called again.
    """
    if connection.phase is not _STATUS or cursor != connection.cursor:
        raise connection.misused('recv_status_line', cursor)
    await connection.receive_line('the status line')
    connection.begin_response()
    return connection.code, connection.cursor


async def recv_headers(connection: Exchange, cursor: int) -> AsyncGenerator[Header, None]:
    """Receive the headers of a response (RFC 9112 section 5), in order, repeated ones as they are.

    Their number is not limited: compare the cursor with a limit of yours.

    Args:
        connection: The connection of the block.
        cursor: The cursor given out last.

    Yields:
        `(key, value, cursor)`: the name in lower case, the value without the white space around it, and the number
        of bytes of this response up to the end of the header's line.

    Raises:
        TransferTimeoutError: No byte was received for `max_wait_send_recv_seconds`.
        ClosedError: The connection ended before the headers did.
        TLSError: TLS failed.
        RemoteProtocolError: A line that is not a header or is longer than `chunk_bytes`, or an invalid Content-Length.
        LocalProtocolError: Called out of order, or with a cursor that is not the last.

    Cancelled or closed early, nothing is lost: called again with the last cursor, it goes on with the next header.
    """
    if connection.phase is not _HEADERS or cursor != connection.cursor:
        raise connection.misused('recv_headers', cursor)
    serial = connection.serial
    while True:
        for header in connection.headers:
            connection.cursor = header[2]
            yield header
            connection.check(serial)
        if connection.phase_after_headers is not None:
            connection.phase = connection.phase_after_headers
            return
        await connection.receive_line('the end of the headers')
        try:
            connection.take_headers()
        except RefusedError as refused:
            raise connection.error(RemoteProtocolError, str(refused)) from None


async def recv_body(connection: Exchange, cursor: int) -> AsyncGenerator[bytes, bytes | None]:
    """Receive the body of a response (RFC 9112 section 6.3), or, after 101 or a 2xx to CONNECT, what the tunnel brings.

    A body with `Transfer-Encoding: chunked` comes as it is on the wire. Whoever undoes the chunks knows where it ends
    and says so with `asend(surplus)`, `b''` where nothing followed: then the connection is complete. With anything
    else it is never used again. In other bodies what is sent is ignored.

    Args:
        connection: The connection of the block.
        cursor: The cursor given out last, by `recv_headers` if there was a header.

    Yields:
        Bytes, never `b''`, at most `chunk_bytes` and what came with the headers.

    Raises:
        TransferTimeoutError: No byte was received for `max_wait_send_recv_seconds`.
        ClosedError: The connection ended before the body did; over TLS also where it ended without close_notify.
        TLSError: TLS failed.
        LocalProtocolError: Called out of order, or with a cursor that is not the last.

    Cancelled or closed early, nothing is lost: called again with the same cursor, it goes on with the next bytes.
    """
    if connection.phase is not _BODY or cursor != connection.cursor:
        raise connection.misused('recv_body', cursor)
    serial = connection.serial
    link = connection.link
    while not connection.complete:
        data, link.unread = link.unread, b''
        if not data:
            if connection.framing is not Framing.CLOSE:
                data = await connection.receive('the end of the body')
            else:
                try:
                    data = await link.receive()
                except Exception as failure:
                    connection.fail(failure, 'the body')
                if not data:
                    connection.complete = True
                    return
        if connection.framing is Framing.LENGTH:
            left = connection.left - len(data)
            if left < 0:
                data, link.unread = data[:left], data[left:]
                left = 0
            connection.left = left
            connection.complete = not left
            yield data
            connection.check(serial)
        else:
            surplus = yield data
            connection.check(serial)
            if surplus is not None and connection.framing is Framing.CHUNKED:
                connection.complete = True
                connection.persists = connection.persists and not surplus
