"""The grammar of HTTP/1.1 on the wire: functions of bytes, no sockets and no waiting.

What RFC 9112 calls ambiguous is refused, never repaired: a `RefusedError` carries the sentence that the caller reads.
"""

import enum
import re
from collections.abc import Generator
from typing import Any, TypeVar

# RFC 9110 section 5.6.2: token = 1*tchar.
TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKEN_CHARACTER = rb'[%b]' % re.escape(TOKEN)

# RFC 9112 section 4: status-line = HTTP-version SP status-code SP [ reason-phrase ]. Some servers leave the second
# space out. In a reason, and in a value, every byte is let through but NUL, CR and LF (RFC 9110 section 5.5).
_STATUS_LINE = re.compile(rb'HTTP/1\.([0-9]) ([0-9]{3})(?: [^\0\r\n]*)?')

# A cookie takes 4,096 bytes by RFC 6265 section 6.1, lines of 12,452 were seen, and every peer takes at least 8,190.
LINE_MAX = 65536
# A head is held whole before it is taken apart. Browsers give up at 262,144 bytes, so no site sends more.
HEAD_MAX = 262144

# "A sender MUST NOT generate a bare CR" (RFC 9112 section 2.2), and a bare LF is what two parsers disagree about.
BARE_LF = re.compile(rb'(?<!\r)\n')

# A length is at most a signed 64-bit number, as more than that no server has written.
_LENGTH_DIGITS_MAX = 19

# RFC 9112 section 7.1: chunk-size [ chunk-ext ] CRLF.
CHUNK_LINE = re.compile(rb'([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\0\r\n]*)?\r\n')

# RFC 9112 section 5: field-line = field-name ":" OWS field-value OWS. "No whitespace is allowed between the field name
# and colon" (section 5.1). "A recipient of such a bare CR MUST consider that element to be invalid" (section 2.2).
_UNSAFE = b'\0\r\n'

# How a request begins: its method, then, where the head is there whole and simple enough, Content-Length and the end.
# Simple are header lines that say nothing of framing, and of the connection no more than keep-alive, and one
# Content-Length at most. (No group is repeated possessively: up to 3.11.4, CPython goes on in the wrong place where
# such a group fails.)
_SIMPLE_LINES = (
    rb'(?:(?!(?i:connection(?!:[ \t]*+keep-alive[ \t]*+\r\n)|content-length|transfer-encoding))'
    rb'%b++:[^\0\r\n]*+\r\n)*' % _TOKEN_CHARACTER
)
_REQUEST = re.compile(
    rb'(%b++ )(?:[^\r\n]*+\r\n%b(?:(?i:content-length):[ \t]*+([0-9]{1,19})[ \t]*+\r\n%b)?(\r\n))?'
    % (_TOKEN_CHARACTER, _SIMPLE_LINES, _SIMPLE_LINES)
)

# A request's head, or a line of its chunks, is followed up to so many bytes, as more than that no server takes, and
# collected so many at once, as a large body may be in the same piece.
FOLLOWED_MAX = 65536
_COLLECTED_AT_ONCE = 1024

# More than a few header lines that frame the message, or elements in one, say nothing new.
FRAMING_MAX = 100
_FRAMING_NAMES = frozenset((b'connection', b'content-length', b'transfer-encoding'))

# Most header lines of a server are the same from one response to the next. What they parse to is remembered for lines
# with these names, none of which carries anything private, for so many lines of so many bytes at most.
_REMEMBERED_MAX = 512
_REMEMBERED_BYTES = 128
_REMEMBERED_NAMES = _FRAMING_NAMES | frozenset(
    b'accept-ranges access-control-allow-origin alt-svc cache-control content-encoding content-type date keep-alive '
    b'permissions-policy referrer-policy server strict-transport-security vary via x-content-type-options '
    b'x-frame-options'.split()
)


class RefusedError(Exception):
    """These bytes are not HTTP/1.1, or can be read in more than one way."""


def shown(line: bytes) -> str:
    """A line for a message: whole when short, else its first bytes."""
    return repr(line) if len(line) <= 80 else f'{line[:80]!r}…'


def looks_like(received: bytes) -> str:
    """What speaks there instead of HTTP/1.1, where its first bytes say so."""
    if received[:1] in (b'\x15', b'\x16') and received[1:2] == b'\x03':
        return ', which looks like TLS: connect with an ssl.SSLContext'
    if received[3:9] == b'\x04\0\0\0\0\0':  # an empty SETTINGS, or one with a type, has this from its fourth byte on
        return ', which looks like HTTP/2'
    return ''


Field = tuple[bytes, bytes, int, tuple[bytes, ...]]
"""Name in lower case, value, bytes of the line with its CRLF; if it matters to framing, its elements, else nothing."""

Status = tuple[bytes, bool, bool]
"""Status code, whether it is HTTP/1.0, and whether such a response has no body, whatever its headers say."""

_NO_ELEMENTS: tuple[bytes, ...] = ()

Parsed = TypeVar('Parsed')

_remembered: dict[bytes, Field] = {}
_remembered_names: dict[bytes, bytes] = {}
remembered_status: dict[bytes, Status] = {}


def _remember(remembered: dict[bytes, Parsed], received: bytes, parsed: Parsed) -> Parsed:
    if len(received) <= _REMEMBERED_BYTES:
        if len(remembered) >= _REMEMBERED_MAX:
            remembered.clear()
        remembered[received] = parsed
    return parsed


def parse_status_line(line: bytes) -> Status:
    """What a status line (RFC 9112 section 4), without its CRLF, says."""
    parts = _STATUS_LINE.fullmatch(line)
    if parts is None:
        raise RefusedError(f'not a status line of HTTP/1.0 or HTTP/1.1: {shown(line)}{looks_like(line)}')
    if len(line) > LINE_MAX:
        raise RefusedError(f'status line of {len(line)} bytes, over the limit of {LINE_MAX}')
    minor, code = parts.groups()
    return _remember(remembered_status, line, (code, minor == b'0', code.startswith(b'1') or code in (b'204', b'304')))


def parse_headers(lines: list[bytes]) -> list[Field]:
    """Header lines (RFC 9112 section 5) without their CRLF."""
    fields: list[Any] = [*map(_remembered.get, lines)]
    if not all(fields):
        joined = b''.join(lines)
        parse = _parse_safe_line if len(joined) <= LINE_MAX and _is_safe(joined) else parse_line
        fields = [field or parse(line) for field, line in zip(fields, lines, strict=True)]
    return fields


def parse_folded_headers(lines: list[bytes]) -> tuple[list[Field], bool]:
    """Header lines, some of which go on in the next (obs-fold), and whether one of these frames the message.

    "A user agent that receives an obs-fold in a response message [...] MUST replace each received obs-fold with one or
    more SP octets prior to interpreting the field value" (RFC 9112 section 5.2).
    """
    folded: list[list[bytes]] = []
    for line in lines:
        if line.startswith((b' ', b'\t')) and folded:
            folded[-1].append(line)
        else:
            folded.append([line])
    fields: list[Field] = []
    frames = False
    for parts in folded:
        first, *more = parts
        line = b' '.join([first.rstrip(b' \t'), *(part.strip(b' \t') for part in more)]) if more else first
        name, value, _, elements = parse_line(line)
        fields.append((name, value, sum(len(part) + 2 for part in parts), elements))
        frames = frames or bool(elements and more)
    return fields, frames


def parse_line(line: bytes) -> Field:
    """One header line without its CRLF."""
    if len(line) > LINE_MAX:
        raise RefusedError(f'header line of {len(line)} bytes, over the limit of {LINE_MAX}: {shown(line)}')
    if not _is_safe(line):
        raise RefusedError(f'not a header line: {shown(line)}')
    return _parse_safe_line(line)


def _is_safe(received: bytes) -> bool:
    return received.translate(None, _UNSAFE) == received


def _parse_safe_line(line: bytes) -> Field:
    """One header line, of which length and single bytes were looked at, as that is cheaper for many lines at once."""
    written, colon, value = line.partition(b':')
    name = _remembered_names.get(written) or _parse_name(written)
    if not name or not colon:
        raise RefusedError(f'not a header line: {shown(line)}')
    value = value.strip(b' \t')
    size = len(line) + 2
    if name not in _REMEMBERED_NAMES:
        return name, value, size, _NO_ELEMENTS
    field = name, value, size, _elements(value) if name in _FRAMING_NAMES else _NO_ELEMENTS
    return _remember(_remembered, line, field)


def _parse_name(written: bytes) -> bytes:
    """A name in lower case; nothing where it is none."""
    if written.translate(None, TOKEN):
        return b''
    return _remember(_remembered_names, written, written.lower())


def _elements(value: bytes) -> tuple[bytes, ...]:
    elements = value.split(b',', FRAMING_MAX)
    if len(elements) > FRAMING_MAX:
        raise RefusedError(f'more than {FRAMING_MAX} elements in {shown(value)}')
    return tuple(element.strip(b' \t').lower() for element in elements)


class Framing(enum.Enum):
    """What ends the body (RFC 9112 section 6.3)."""

    LENGTH = 'as many bytes as were announced, or none'
    CHUNKED = 'what the caller finds in the chunks'
    CLOSE = 'the end of the stream'
    TUNNEL = 'the end of the stream, and until then both sides send what they like'


_LENGTH, _CHUNKED, _CLOSE, _TUNNEL = Framing
_HEAD, _CONNECT = b'HEAD ', b'CONNECT '


def response_framing(method: bytes, status: Status, fields: list[Field]) -> tuple[Framing, int, bool]:
    """What ends the body, its length, and whether the connection persists (RFC 9112 sections 6.3 and 9.3)."""
    code, is_old, is_bodiless = status
    lengths = codings = options = _NO_ELEMENTS
    count = 0
    for name, _, _, elements in fields:
        if not elements:
            continue
        if name == b'content-length':
            lengths += elements
        elif name == b'connection':
            options += elements
        else:
            codings += elements
        count += len(elements)
        if count > FRAMING_MAX:
            raise RefusedError(f'more than {FRAMING_MAX} elements in the headers that frame the message')
    # "If the minor version is higher, the message is processed as one of HTTP/1.1" is what RFC 9110 section 2.5 says.
    persists = b'close' not in options and (not is_old or b'keep-alive' in options)
    # The doubtful is not reused: both framings in one response, one of which may be an attacker's (section 6.1: "ought
    # to be handled as an error"), a list that others may read differently, chunked in HTTP/1.0.
    if codings and (lengths or is_old or codings[-1] != b'chunked' or codings.count(b'chunked') != 1):
        persists = False
    if is_bodiless or method in (_HEAD, _CONNECT):
        if code == b'101' or (method == _CONNECT and code.startswith(b'2')):
            return _TUNNEL, 0, False
        if is_bodiless or method == _HEAD:
            return _LENGTH, 0, persists
    if codings:
        # "A recipient MUST parse and ignore a reasonable number of empty list elements" (RFC 9110 section 5.6.1.2).
        is_chunked = next(filter(None, reversed(codings)), b'') == b'chunked'
        return (_CHUNKED, 0, persists) if is_chunked else (_CLOSE, 0, False)
    if not lengths:
        return _CLOSE, 0, False
    # "If a message is received without Transfer-Encoding and with an invalid Content-Length header field, then the
    # message framing is invalid", unless it is a list of one valid value repeated (RFC 9112 section 6.3).
    first = lengths[0]
    if not first.isdigit() or len(first) > _LENGTH_DIGITS_MAX or lengths.count(first) != len(lengths):
        raise RefusedError(f'Content-Length is {shown(b", ".join(lengths))}')
    return _LENGTH, int(first), persists


def parse_request(data: bytes | memoryview) -> tuple[bytes, bool]:
    """The method of a request and the space after it, and whether all of it is there and simple."""
    request = _REQUEST.match(data, 0, FOLLOWED_MAX)
    if request is None:
        start = shown(bytes(data[:FOLLOWED_MAX]))
        raise RefusedError(f'a request begins with its method and a space, not with {start}')
    method, length, head_is_whole = request.groups()
    return method, bool(head_is_whole) and int(length or 0) == len(data) - request.end()


class RequestFraming:
    """Follows a request to its end (RFC 9112 section 6), so that a connection is reused only after all of it was sent.

    A server may answer before it has read the body. Were the connection reused then, the server would read the next
    request as the rest of this one's body. Nothing is refused here, as what is sent is the caller's: what can't be
    followed is `doubtful`, and its connection is not reused.
    """

    __slots__ = ('_end', '_lacks', '_left', '_part', '_parts', 'close', 'doubtful', 'whole')

    def __init__(self) -> None:
        self.whole = self.close = self.doubtful = False
        self._part = bytearray()
        self._parts = _parts_of_a_request()
        self._end, self._left, self._lacks = next(self._parts)

    def feed(self, data: bytes | memoryview) -> None:
        """Take note of more bytes of the request."""
        view = memoryview(data)
        while view and not self.doubtful:
            if self.whole:
                self.doubtful = True
            elif self._left:
                skipped = min(self._left, len(view))
                self._left -= skipped
                view = view[skipped:]
                if not self._left:
                    self._go_on(b'')
            else:
                view = self._collect(view)

    def lacks(self) -> str:
        """What is still to be sent, for a message; nothing where the request is whole or could not be followed."""
        return '' if self.whole or self.doubtful else self._lacks.format(self._left)

    def _collect(self, view: memoryview) -> memoryview:
        """Take what belongs to the head, or to a line between chunks."""
        part = self._part
        before = len(part)
        part += view[:_COLLECTED_AT_ONCE]
        end = part.find(self._end, max(before - 3, 0)) + len(self._end)
        is_whole = end >= len(self._end)
        self.doubtful = (end if is_whole else len(part)) > FOLLOWED_MAX
        if self.doubtful or not is_whole:
            return view[_COLLECTED_AT_ONCE:]
        whole = bytes(part[:end])
        part.clear()
        self._go_on(whole)
        return view[end - before :]

    def _go_on(self, part: bytes) -> None:
        try:
            self._end, self._left, self._lacks = self._parts.send(part)
        except StopIteration as end:
            self.whole, self.close = True, end.value
        except RefusedError:
            self.doubtful = True


def _parts_of_a_request() -> Generator[tuple[bytes, int, str], bytes, bool]:
    """The parts of a request: what each ends with, or how many bytes it has, and what is lacking until it was sent.

    Is sent each that ends with something, and returns whether the request asks to close the connection.
    """
    head = yield b'\r\n\r\n', 0, 'the empty line after its headers'
    start, *lines = head[:-4].split(b'\r\n')
    is_closing = is_chunked = False
    length: bytes | None = None
    for name, value, _, elements in parse_headers(lines):
        if name == b'connection':
            is_closing = is_closing or b'close' in elements
        elif name == b'content-length':
            if not value.isdigit() or len(value) > _LENGTH_DIGITS_MAX or length not in (None, value):
                raise RefusedError
            length = value
        elif elements:
            if is_chunked or elements != (b'chunked',):
                raise RefusedError
            is_chunked = True
    # "Transfer-Encoding was added in HTTP/1.1." In HTTP/1.0 a server takes it for a fault (RFC 9112 section 6.1).
    chunked_alone = length is None and start.endswith(b' HTTP/1.1')
    if b'\r' in start or b'\n' in start or (is_chunked and not chunked_alone):
        raise RefusedError
    if length is not None and int(length):
        yield b'', int(length), '{} bytes of its body'
    lacks = 'the end of its chunks'
    size = int(is_chunked)  # of the last chunk, and before the first anything but 0
    while size:
        chunk = CHUNK_LINE.fullmatch((yield b'\n', 0, lacks))
        if chunk is None:
            raise RefusedError
        size = int(chunk[1], 16)
        if size:
            yield b'', size, lacks
            if (yield b'\n', 0, lacks) != b'\r\n':
                raise RefusedError
    while is_chunked and (yield b'\n', 0, lacks) != b'\r\n':
        pass
    return is_closing
