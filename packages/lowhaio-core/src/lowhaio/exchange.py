"""One request and its response: `send`, `recv_status_line`, `recv_headers`, `recv_body`.

An `Exchange` is the state, the four functions are what moves it, and nothing else does: a generator that is abandoned
or collected late has nothing of its own to lose.

    IDLE ──send──▶ STATUS ──recv_status_line──▶ HEADERS ──recv_headers to its end──▶ BODY
                     ▲                             │                                   │
                     ├───────── 1xx but 101 ───────┘                                   │
                     └──send, where the response is complete and may be followed───────┘

`complete` is apart from these, as it is known early: as soon as the last byte of the response was received.
"""

import asyncio
import enum
import ssl
from collections.abc import AsyncGenerator, Iterator
from typing import Any, NoReturn

from . import errors, grammar
from .grammar import HEAD_MAX, LINE_MAX, Field, Framing, RefusedError
from .waiting import AbandonedError, BusyError, EndedError, Link, WaitTimeoutError, is_lost


class Phase(enum.Enum):
    """Which function is next."""

    OUTSIDE = 'outside of its block'
    IDLE = 'before a request: send comes next'
    STATUS = 'before a status line: recv_status_line comes next'
    HEADERS = 'before the end of the headers: recv_headers comes next'
    BODY = 'after the headers: recv_body comes next'


_OUTSIDE, _IDLE, _STATUS, _HEADERS, _BODY = Phase
_LENGTH, _CHUNKED, _CLOSE, _TUNNEL = Framing

_END_OF_HEAD = b'\r\n\r\n'
_HEAD_LAST = HEAD_MAX - len(_END_OF_HEAD)

OVER: Iterator[Field] = iter(())


class Exchange:
    """The state of one request and its response on a link that its owner lends."""

    __slots__ = (
        'body_left', 'complete', 'cursor', 'figures', 'framing', 'headers', 'line', 'link', 'method',
        'persists', 'phase', 'phase_after_headers', 'request', 'reused', 'sending',
    )  # fmt: skip

    link: Link
    phase: Phase
    sending: bool
    figures: tuple[int, int]
    headers: Iterator[Field]
    phase_after_headers: Phase

    def held(self, name: str) -> Link:
        """The link, for an attribute that there is only inside of the block."""
        if self.phase is _OUTSIDE:
            raise self.misused(name)
        return self.link

    def may_be_followed(self) -> bool:
        """Whether another request may follow on this connection; in doubt not."""
        link = self.link
        if self.phase is not _IDLE:
            if not self.complete or not self.persists or self.sending:
                return False
            request = self.request
            if request is not None and (request.close or request.doubtful or not request.whole):
                return False
        if link.requests_left <= 0 or link.failure is not None or link.end_is_failure is not None:
            return False
        return not link.unread and link.kept is None and link.recv_waiter is None

    def is_over(self) -> bool:
        """Whether both messages are whole, so that what is sent next is another request."""
        return self.complete and self.framing is not _TUNNEL and (self.request is None or self.request.whole)

    # ---- the request

    def begin(self, data: bytes | memoryview) -> None:
        """The first bytes of a request."""
        link = self.link
        again = self.phase is not _IDLE
        if again or link.kept is not None or link.failure is not None:
            if link.closed:
                self.fail(AbandonedError('the pool was left'), 'send')
            if not self.may_be_followed():
                raise self.error(errors.LocalProtocolError, 'this connection takes no other request: leave its block')
        self.request = None
        try:
            method, is_whole = grammar.parse_request(data)
        except RefusedError as refused:
            raise self.error(errors.LocalProtocolError, str(refused)) from None
        if not is_whole:
            self.request = grammar.RequestFraming()
            self.request.feed(data)
        if again or not link.reading:
            self.check_silence()
        self.method = method
        link.reused = True
        link.requests_left -= 1
        self.complete = False
        self.persists = True
        self.cursor = 0
        self.phase = _STATUS
        self.headers = OVER

    def check_silence(self) -> None:
        """What is received with no request outstanding is not a response to the next one (RFC 9112 section 9.2)."""
        link = self.link
        self.phase = _IDLE
        self.reused = link.reused
        link.bytes_sent = link.bytes_received = 0
        if link.silent():
            return
        if link.failure is not None:
            self.fail(link.failure, 'the request')
        if not link.kept:
            raise self.error(errors.ClosedError, 'the server closed the connection before the request')
        raise self.error(errors.RemoteProtocolError, 'the server sent something before the request')

    # ---- the response

    async def receive_head(self) -> None:
        """Have a whole head in `unread`. Each byte is looked at once, however slowly they come.

        What can't become a head is refused as soon as that is plain. Cancelled, nothing is lost.
        """
        link = self.link
        head = bytearray(link.unread)
        looked = line_start = 0
        try:
            while True:
                newline = head.find(b'\n', looked)
                length = (newline if newline >= 0 else len(head)) - line_start
                if length > LINE_MAX + 1:  # its CR may be among them
                    raise RefusedError(f'a line of at least {length - 1} bytes, over the limit of {LINE_MAX}')
                if newline >= 0:
                    if not line_start:
                        grammar.parse_status_line(bytes(head[:newline]).removesuffix(b'\r'))
                    if grammar.BARE_LF.search(head, looked):
                        raise RefusedError(f'a line that ends in LF without CR: {grammar.shown(bytes(head))}')
                    last = head.rfind(b'\n')
                    first, *lines = bytes(head[line_start : last - 1]).split(b'\r\n')
                    for line in lines if not line_start else [first, *lines]:
                        if line and not line.startswith((b' ', b'\t')):
                            grammar.parse_line(line)
                    line_start = last + 1
                if len(head) > HEAD_MAX:
                    raise RefusedError(f'a head of at least {len(head)} bytes, over the limit of {HEAD_MAX}')
                looked = len(head)
                head += await link.receive(link.head_bytes)
                if head.find(_END_OF_HEAD, max(looked - 3, 0), HEAD_MAX) >= 0:
                    return
        finally:
            link.unread = bytes(head)

    def begin_response(self, head: bytes, unread: bytes) -> tuple[bytes, int]:
        """Take a head apart, and its bytes from those unread. One that is refused stays, and is refused again."""
        line, *lines = head.split(b'\r\n')
        status = grammar.remembered_status.get(line) or grammar.parse_status_line(line)
        code, _, is_bodiless = status
        try:
            fields = grammar.parse_headers(lines)
        except RefusedError:
            fields, is_doubtful = grammar.parse_folded_headers(lines)
            self.persists = self.persists and not is_doubtful
        self.framing, self.body_left, persists = grammar.response_framing(self.method, status, fields)
        if not persists:
            self.persists = False
        if is_bodiless and code < b'200' and self.framing is not _TUNNEL:
            self.phase_after_headers = _STATUS
        else:
            self.phase_after_headers = _BODY
            self.complete = self.framing is _LENGTH and not self.body_left
        self.line = line
        self.headers = iter(fields)
        if self.cursor:
            self.cursor += 2  # the empty line after the headers of an interim response
        cursor = self.cursor = self.cursor + len(line) + 2
        self.link.unread = unread
        self.phase = _HEADERS
        return code, cursor

    # ---- errors

    def error(self, kind: type[errors.LowhaioError], message: str) -> errors.LowhaioError:
        """An error of this kind with the figures of this exchange."""
        sent, received = self.figures
        if self.phase is not _OUTSIDE:
            sent, received = self.link.bytes_sent, self.link.bytes_received
        return errors.of_kind(kind, message, bytes_sent=sent, bytes_received=received, reused=self.reused)

    def misused(self, function: str, cursor: int | None = None) -> errors.LowhaioError:
        """The error of a function called out of order, or with another cursor than the last one given out."""
        how = self.phase.value
        if cursor is not None and self.phase not in (_OUTSIDE, _IDLE) and cursor != self.cursor:
            how = f'with cursor {cursor!r}, the last was {self.cursor}'
        return self.error(errors.LocalProtocolError, f'{function} called {how}')

    def outlived(self) -> errors.LowhaioError:
        """The error of a generator that outlived its exchange: what it would receive belongs to another."""
        return self.error(errors.LocalProtocolError, 'the exchange of this generator is over')

    def fail(self, failure: Exception, awaited: str) -> NoReturn:
        """Raise what the layer below raised as an error that says what it was for.

        The traceback of what was raised goes: it holds the frames, and these the link that keeps the failure.
        """
        failure.__traceback__ = None
        if isinstance(failure, WaitTimeoutError):
            message = f'{awaited}: not a byte for {self.link.wait_seconds} seconds{self.hint(awaited)}'
            raise self.error(errors.TransferTimeoutError, message) from None
        if isinstance(failure, EndedError):
            message = f'the server closed the connection before {awaited}{self.hint(awaited)}'
            raise self.error(errors.ClosedError, message) from None
        if isinstance(failure, RefusedError):
            raise self.error(errors.RemoteProtocolError, str(failure)) from None
        if isinstance(failure, (AbandonedError, BusyError)):
            raise self.error(errors.LocalProtocolError, f'{awaited}: {failure}') from None
        if isinstance(failure, ssl.SSLEOFError) and awaited != 'send':
            raise self.error(errors.ClosedError, f'{awaited}: the TLS stream ended without close_notify') from failure
        if not isinstance(failure, OSError):
            raise failure
        kind = errors.ClosedError if is_lost(failure) else errors.TLSError
        raise self.error(kind, f'{awaited}: {failure}') from failure

    def hint(self, awaited: str) -> str:
        """What may explain that a response did not come: what came instead, or what the request lacks."""
        if self.phase is not _STATUS or awaited == 'send':
            return ''
        if unread := self.link.unread:
            return f', after {grammar.shown(unread)}{grammar.looks_like(unread)}'
        lacks = self.request and self.request.lacks()
        return f': the request is not whole, it lacks {lacks}' if lacks else ''


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
    view = None
    if type(data) is not bytes:
        data = view = viewed(data)
    try:
        if not data:
            return
        if connection.phase is _IDLE:
            connection.begin(data)
        elif connection.phase is _OUTSIDE:
            raise connection.misused('send')
        elif connection.sending:
            raise connection.error(errors.LocalProtocolError, 'an earlier send is under way, failed or was cancelled')
        elif connection.is_over():
            connection.begin(data)
        else:
            if connection.request is None:
                connection.request = grammar.RequestFraming()
                connection.request.whole = True
            connection.request.feed(data)
        connection.sending = True
        link = connection.link
        try:
            sent = link.try_send(data)
            if sent != len(data):
                await link.send_rest(data, sent)
        except Exception as failure:
            connection.fail(failure, 'send')
        connection.sending = False
    finally:
        if view is not None:
            view.release()  # the buffer is the caller's again, which the frames of a traceback would keep from it


def viewed(data: bytes | bytearray | memoryview) -> memoryview:
    """The bytes of any bytes-like object."""
    try:
        return memoryview(data).cast('B')
    except TypeError:
        raise TypeError(f'send takes bytes, not {type(data).__name__}: encode text, and serialize all else') from None


async def recv_status_line(connection: Exchange, cursor: int = 0) -> tuple[bytes, int]:
    """Receive the head of a response, and give out its status line (RFC 9112 section 4).

    An interim response (1xx but 101, RFC 9110 section 15.2) is followed by another status line: after its headers
    call this again with the cursor.

    Args:
        connection: The connection of the block.
        cursor: 0, or after an interim response the cursor given out last.

    Returns:
        The status code as three digits, `b'200'`, and the cursor: the number of bytes of this response so far.

    Raises:
        TransferTimeoutError: No byte was received for `max_wait_send_recv_seconds`.
        ClosedError: The connection ended before the head did.
        TLSError: TLS failed.
        RemoteProtocolError: Not a status line of HTTP/1.x, a line that is not a header, an invalid Content-Length, a
            line of over 65,536 bytes, or a head of over 262,144.
        LocalProtocolError: Called out of order, or with a cursor that is not the last.

    Cancelled, nothing is lost: it can be called again.

    """
    if cursor:
        await asyncio.sleep(0)  # after an interim response: a flood of them must not keep the loop from its other tasks
    if connection.phase is not _STATUS or cursor != connection.cursor:
        raise connection.misused('recv_status_line', cursor)
    link = connection.link
    try:
        received = link.unread = link.unread or await link.receive(link.head_bytes)
        head, end, unread = received.partition(_END_OF_HEAD)
        if not end or len(head) > _HEAD_LAST:
            await connection.receive_head()
            head, _, unread = link.unread.partition(_END_OF_HEAD)
        return connection.begin_response(head, unread)
    except Exception as failure:
        connection.fail(failure, 'the status line')


async def recv_headers(connection: Exchange, cursor: int) -> AsyncGenerator[tuple[bytes, bytes, int], None]:
    """Receive the headers of a response (RFC 9112 section 5), in order, repeated ones as they are.

    What limits their number is the size of the head: compare the cursor with a limit of yours, if it is lower.

    Args:
        connection: The connection of the block.
        cursor: The cursor given out last.

    Yields:
        `(key, value, cursor)`: the name in lower case, the value without the white space around it, and the number
        of bytes of this response up to the end of the header's line.

    Raises:
        LocalProtocolError: Called out of order, or with a cursor that is not the last.

    It never waits, as the head was received with its status line. Closed early, nothing is lost: called again with the
    last cursor, it goes on with the next header.

    """
    if connection.phase is not _HEADERS or cursor != connection.cursor:
        raise connection.misused('recv_headers', cursor)
    headers = connection.headers
    for name, value, size, _ in headers:
        cursor = connection.cursor = connection.cursor + size
        yield name, value, cursor
        if connection.headers is not headers:
            raise connection.outlived()
    connection.phase = connection.phase_after_headers


async def recv_body(connection: Exchange, cursor: int) -> AsyncGenerator[bytes, Any]:
    """Receive the body of a response (RFC 9112 section 6.3), or, after 101 or a 2xx to CONNECT, what the tunnel brings.

    A body with `Transfer-Encoding: chunked` comes as it is on the wire. Whoever undoes the chunks knows where it ends
    and says so with `asend(surplus)`, `b''` where nothing followed: then the connection is complete. With anything
    else it is never used again. In other bodies what is sent is ignored.

    Args:
        connection: The connection of the block.
        cursor: The cursor given out last, by `recv_headers` if there was a header.

    Yields:
        Bytes, never `b''`, at most `chunk_bytes` at a time.

    Raises:
        TransferTimeoutError: No byte was received for `max_wait_send_recv_seconds`.
        ClosedError: The connection ended before the body did; over TLS also where it ended without close_notify.
        TLSError: TLS failed.
        LocalProtocolError: Called out of order, or with a cursor that is not the last.

    Cancelled or closed early, nothing is lost: called again with the same cursor, it goes on with the next bytes.

    """
    if connection.phase is not _BODY or cursor != connection.cursor:
        raise connection.misused('recv_body', cursor)
    headers = connection.headers
    link = connection.link
    while True:
        if connection.headers is not headers:
            raise connection.outlived()
        if connection.complete:
            return
        try:
            data = link.unread or await link.receive(link.chunk_bytes)
        except EndedError as ended:
            if connection.framing is _LENGTH or connection.framing is _CHUNKED:
                connection.fail(ended, 'the end of the body')
            connection.complete = True
            return
        except Exception as failure:
            connection.fail(failure, 'the body')
        link.unread = b''
        if connection.framing is _LENGTH:
            left = connection.body_left - len(data)
            if left < 0:
                data, link.unread = data[:left], data[left:]
                left = 0
            connection.body_left = left
            connection.complete = not left
            yield data
        else:
            surplus = yield data
            if surplus is not None and connection.headers is headers and connection.framing is _CHUNKED:
                connection.complete = True
                connection.persists = connection.persists and not surplus
