"""What a client must make of a response, found in another way than the core does.

`judged(method, data)` has all bytes that a server sends before it closes the connection, and goes through them once,
from front to back, with an index. It is written from the tables in the documentation and shares nothing with the core:
no function, no state between pieces. `tests/test_fuzz.py` holds it against the vectors, and the fuzzer holds the
core against it.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

import lowhaio
import lowhaio_chunked

Headers = tuple[tuple[bytes, bytes], ...]

LINE_MAX = 65536
"""Bytes of a line of a head, without its CRLF."""
HEAD_MAX = 262144
"""Bytes of a head, with the empty line at its end."""

_STATUS_LINE = re.compile(rb'HTTP/1\.([0-9]) ([0-9]{3})(?: [^\0\r\n]*)?\r\n')
_HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0\r\n]*?)[ \t]*\r\n")
_FOLDED_LINE = re.compile(rb'[ \t]([^\0\r\n]*)\r\n')
_CHUNK_LINE = re.compile(rb'([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\0\r\n]*)?\r\n')
_FRAMING = (b'connection', b'transfer-encoding', b'content-length')
_MOST_ELEMENTS = 100


@dataclass(frozen=True)
class Verdict:
    """What becomes of a response.

    error: the class of the error with which it is refused, before any content coding is undone.
    reusable: the connection may be used again.
    """

    codes: tuple[bytes, ...] = ()
    headers: Headers = ()
    body: bytes = b''
    error: type[Exception] | None = None
    reusable: bool = False


def _is_bad(line: bytes) -> bool:
    parts = _HEADER_LINE.fullmatch(line)
    return parts is None or (parts[1].lower() in _FRAMING and parts[2].count(b',') >= _MOST_ELEMENTS)


class _RefusedError(Exception):
    def __init__(self, kind: type[Exception] = lowhaio.SentRemoteProtocolError) -> None:
        self.kind = kind


def judged(method: bytes, data: bytes) -> Verdict:
    """The verdict on a response to a request of this method."""
    reading = _Reading(data)
    try:
        return reading.response(method)
    except _RefusedError as refused:
        return Verdict(error=refused.kind, headers=reading.headers)


class _Reading:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.headers: Headers = ()

    def response(self, method: bytes) -> Verdict:
        codes: list[bytes] = []
        persists = True
        while True:
            lines, folds = self.head_lines()
            minor, code = self.match(_STATUS_LINE, lines[0])
            codes.append(code)
            options, codings, lengths = self.head(lines[1:])
            framing_is_folded = any(name in _FRAMING for name, _ in (self.headers[at] for at in folds))
            persists = persists and b'close' not in options and not framing_is_folded
            persists = persists and (minor != b'0' or b'keep-alive' in options)
            if codings and (lengths or minor == b'0' or codings[-1] != b'chunked' or codings.count(b'chunked') > 1):
                persists = False
            if code[:1] != b'1' or code == b'101':
                break
        if code == b'101' or (method == b'CONNECT' and code[:1] == b'2'):
            body, persists = self.rest(), False
        elif method == b'HEAD' or code in (b'204', b'304'):
            body = b''
        elif [coding for coding in codings if coding][-1:] == [b'chunked']:
            body = self.chunks()
        elif lengths and not codings:
            if len(set(lengths)) > 1 or not re.fullmatch(rb'[0-9]{1,19}', lengths[0]):
                raise _RefusedError
            body = self.exactly(int(lengths[0]))
        else:
            body, persists = self.rest(), False
        return Verdict(tuple(codes), self.headers, body, reusable=persists and self.at == len(self.data))

    def head_lines(self) -> tuple[list[bytes], list[int]]:
        """Go past a head: its lines, each fold a space, and which of its headers were folded."""
        end = self.data.find(b'\r\n\r\n', self.at, self.at + HEAD_MAX)
        if end < 0:
            raise self.unfinished(self.data[self.at :])
        head = self.data[self.at : end + 2]
        self.at = end + 4
        groups: list[list[bytes]] = []
        for line in head[:-2].split(b'\r\n'):
            if line[:1] in (b' ', b'\t') and len(groups) > 1:
                groups[-1].append(line.strip(b' \t'))
            else:
                groups.append([line])
        folds = [at - 1 for at, parts in enumerate(groups) if len(parts) > 1]
        lines = [b' '.join([first.rstrip(b' \t') if more else first, *more]) + b'\r\n' for first, *more in groups]
        if any(len(line) > LINE_MAX + 2 for line in lines):
            raise _RefusedError
        return lines, folds

    @staticmethod
    def unfinished(head: bytes) -> _RefusedError:
        """What becomes of a head without its end: a part that is whole, and too much, are refused, not waited for."""
        first, newline, _ = head.partition(b'\n')
        bad_start = newline and not _STATUS_LINE.fullmatch(first.removesuffix(b'\r') + b'\r\n')
        too_long = len(head) > HEAD_MAX or len(head) - head.rfind(b'\n') - 1 > LINE_MAX + 1
        whole = head[: head.rfind(b'\r\n') + 2].splitlines(keepends=True)[1:] if b'\r\n' in head else []
        bad_line = any(line[:1] not in (b' ', b'\t') and _is_bad(line) for line in whole)
        if bad_start or bad_line or too_long or head.count(b'\n') != head.count(b'\r\n'):
            return _RefusedError()
        return _RefusedError(lowhaio.SentClosedError)

    def head(self, head_lines: list[bytes]) -> list[list[bytes]]:
        """Take the headers apart. The elements of each of those that frame the message."""
        headers = []
        named: dict[bytes, list[bytes]] = {name: [] for name in _FRAMING}
        lines = 0
        for line in head_lines:
            name, value = self.match(_HEADER_LINE, line)
            name = name.lower()
            headers.append((name, value))
            if name in _FRAMING:
                elements = [element.strip(b' \t').lower() for element in value.split(b',')]
                named[name] += elements
                lines += 1
                if lines > _MOST_ELEMENTS or len(elements) > _MOST_ELEMENTS:
                    raise _RefusedError
        if sum(map(len, named.values())) > _MOST_ELEMENTS:
            raise _RefusedError
        self.headers = tuple(headers)
        return [*named.values()]

    def chunks(self) -> bytes:
        kind = lowhaio_chunked.MalformedError
        body = b''
        while size := int(self.match(_CHUNK_LINE, self.line(), kind)[0], 16):
            body += self.exactly(size)
            for byte in b'\r\n':
                if self.exactly(1)[0] != byte:
                    raise _RefusedError(kind)
        trailers = 0
        while (line := self.line()) != b'\r\n':
            self.match(_FOLDED_LINE if trailers and line[0] in b' \t' else _HEADER_LINE, line, kind)
            trailers += 1
        return body

    def line(self) -> bytes:
        end = self.data.find(b'\n', self.at)
        if end < 0:
            raise _RefusedError(lowhaio.SentClosedError)
        return self.exactly(end + 1 - self.at)

    def exactly(self, size: int) -> bytes:
        if len(self.data) - self.at < size:
            raise _RefusedError(lowhaio.SentClosedError)
        self.at += size
        return self.data[self.at - size : self.at]

    def rest(self) -> bytes:
        return self.exactly(len(self.data) - self.at)

    @staticmethod
    def match(
        pattern: re.Pattern[bytes], line: bytes, kind: type[Exception] = lowhaio.SentRemoteProtocolError
    ) -> tuple[bytes, ...]:
        match = pattern.fullmatch(line)
        if match is None:
            raise _RefusedError(kind)
        return match.groups()


def content(coding: bytes, body: bytes, most: int) -> bytes | None:
    """What a body with this content coding holds; None if it is broken, or is more than `most` bytes."""
    if not body:
        return b''
    is_gzip = coding in (b'gzip', b'x-gzip')
    bits = 31 if is_gzip else 15 if body[0] & 0x0F == 8 else -15
    found = b''
    while body:
        stream = zlib.decompressobj(bits)
        try:
            found += stream.decompress(body, most + 1)
        except zlib.error:
            return None
        body = stream.unused_data.lstrip(b'\0') if is_gzip else stream.unused_data
        if len(found) > most or not stream.eof or (body and not is_gzip):
            return None
    return found
