r"""What the recipes read, made ready for the fuzzer of `support.fuzzing`.

A `Reader` reads the bytes of a `Case` with a recipe, through its public names, and says what became of it. Its method
is one of the reader's `ways`: with credentials or without, going on or beginning. `support.reader_oracles` says what
must become of it. `Reading.check(case)` reads it whole and in its pieces, and raises `Finding` unless

- what comes out is what the oracle says, both times: so no split of the input changes it, truncation is no success, no
  exception escapes that is not documented, and of what follows the end not a byte is taken;
- at most `steps_allowed` lines of the recipe were run.

What has parts of its own is written as text: a response to `resume` or `websocket` is its code, a line for each header,
an empty line and the body, with line feeds alone, since the grammar of HTTP is the core's. In `codings` the first line
is the value of Content-Encoding. In `multipart` the parts are separated by ASCII's RS, and what a part has by US.
"""

from __future__ import annotations

import bz2
import contextlib
import itertools
import lzma
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import brotli
from backports import zstd

import lowhaio_chunked
import lowhaio_codings
import lowhaio_dict
import lowhaio_gzip
import lowhaio_multipart
import lowhaio_redirect
import lowhaio_request
import lowhaio_resume
import lowhaio_retry
import lowhaio_sse
import lowhaio_tunnel
import lowhaio_websocket
from lowhaio_nonssl import NonSSLSocket

from . import reader_oracles as oracles
from .conformance import body_of
from .fuzzing import Case, Finding, Tracer

SUFFIX = '.case'
"""How the files of their corpora are called, which are in a folder for each of them."""
PIECE_BYTES = 256
MOST_CONTENT = 65536
"""The `piece_bytes` and the `max_bytes` of the decompressions."""
MOST_EVENT = 100
"""The `max_bytes` of events, where they have a low one."""
NOW = 784111777.0
"""Sun, 06 Nov 1994 08:49:37 GMT, the date in RFC 9110."""
MOST_WAIT = 100000.0
"""The `max_retry_after_seconds`."""
LOGIN = (b'user', b'password')
BASES = {
    b'deep': 'https://example.com/a/b;p?q=1#f',
    b'bare': 'http://example.com:8080',
    b'address': 'https://[::1]:443/x/./y/../z?',
}


@dataclass(frozen=True)
class Reader:
    """One reader of bytes."""

    modules: Sequence[ModuleType]
    ways: Sequence[bytes]
    tokens: Sequence[bytes]
    read: Callable[[Case], Awaitable[object]]
    judge: Callable[[Case], object]

    @property
    def packages(self) -> tuple[str, ...]:
        """The folders whose lines are counted."""
        return tuple(str(Path(str(module.__file__)).parent) for module in self.modules)


class Reading:
    """Checks the cases of one reader, one after the other."""

    def __init__(self, reader: Reader) -> None:
        self.tracer = Tracer(reader.packages)
        self.executions = 0
        self._reader = reader

    async def check(self, case: Case) -> None:
        """Read the case whole, and in its pieces. Raises Finding."""
        case = replace(case, method=case.method if case.method in self._reader.ways else self._reader.ways[0])
        expected = self._reader.judge(case)
        for played in (replace(case, sizes=()), case) if case.sizes else (case,):
            try:
                read = await self.play(played)
            except Finding:
                raise
            except Exception as error:
                raise Finding(f'{error!r} escaped') from error
            if expected not in (oracles.ANYTHING, read):
                raise Finding(f'{read} in the place of {expected}')

    async def play(self, case: Case) -> object:
        """What the reader makes of a case. The lines that it runs for it are in `tracer.steps`."""
        self.executions += 1
        with self.tracer.tracing(steps_allowed(case)):
            read = await self._reader.read(case)
        if self.tracer.steps > steps_allowed(case):  # where the reader took the Finding for an error of the data
            raise Finding(f'{self.tracer.steps} lines were run')
        return read


def steps_allowed(case: Case) -> int:
    """Lines of code that a case may take: so many in any case, and so many for each byte that may be alone."""
    return 2000 + 100 * len(case.response) + 40 * MOST_CONTENT // PIECE_BYTES


def pieces(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """The data in pieces of these sizes, which are taken in turn."""
    at = 0
    for size in itertools.cycle(sizes or [max(1, len(data))]):
        if at >= len(data):
            return
        yield data[at : at + size]
        at += size


def named(error: BaseException) -> str:
    """What stands for an error."""
    return type(error).__name__


# The tunnels


class DrippingSocket(NonSSLSocket):
    """A plain socket that receives by the sizes it has, and finds nothing before each; and counts what it gets."""

    taken = 0
    sizes: Iterator[int] | None = None
    pause = False

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        if self.sizes is not None:
            self.pause = not self.pause
            if self.pause:
                raise BlockingIOError
            size = min(size, next(self.sizes))
        data = super().recv(size, flags)
        self.taken += len(data)
        return data

    def unwrap(self) -> socket.socket:
        return self  # Python refuses to turn an object with attributes into a plain socket


class AsItIs:
    """A context that leaves the socket as it is."""

    def wrap_socket(self, sock: Any, **_: object) -> Any:
        return sock


async def through(context: Any, case: Case) -> tuple[str, bytes | None, tuple[Any, ...], int, bytes]:
    """The outcome of a handshake, the code and the headers of a refusal, the bytes taken, and the bytes sent."""
    ours, peer = socket.socketpair()
    sock = DrippingSocket(ours.family, ours.type, ours.proto, ours.detach())
    with peer, sock:
        sock.setblocking(False)
        if case.sizes:
            sock.sizes = itertools.cycle(case.sizes)
        peer.sendall(case.response)
        peer.shutdown(socket.SHUT_WR)
        outcome: tuple[str, bytes | None, tuple[Any, ...]] = ('open', None, ())
        try:
            opening = context.wrap_socket(sock, server_hostname='example.com')
            for _ in range(2 * len(case.response) + 10):
                with contextlib.suppress(ssl.SSLWantReadError):
                    if opening.do_handshake() is not sock:
                        raise Finding('another socket than the one inside')
                    break
            else:
                raise Finding('more turns than bytes')
        except lowhaio_tunnel.RefusedError as error:
            outcome = (named(error), error.code, tuple(error.headers))
        except lowhaio_tunnel.TunnelError as error:
            outcome = (named(error), None, ())
        taken = sock.taken
        if outcome[0] == 'open':
            rest = b''
            sock.sizes = None
            while piece := sock.recv(65536):
                rest += piece
            if rest != case.response[taken:]:
                raise Finding(f'{rest!r} came through the tunnel')
        peer.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            return *outcome, taken, peer.recv(65536)
    return *outcome, taken, b''


async def read_connect(case: Case) -> object:
    credentials = LOGIN if case.method == b'login' else None
    context = lowhaio_tunnel.ConnectContext(AsItIs(), 443, credentials=credentials)
    *outcome, sent = await through(context, case)
    login = b'proxy-authorization: Basic dXNlcjpwYXNzd29yZA==\r\n' if credentials else b''
    if sent != b'CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n%b\r\n' % login:
        raise Finding(f'{sent!r} was sent')
    return tuple(outcome)


async def read_socks5(case: Case) -> object:
    credentials = LOGIN if case.method == b'login' else None
    context = lowhaio_tunnel.Socks5Context(AsItIs(), 443, credentials=credentials)
    outcome, code, _, taken, sent = await through(context, case)
    # What is sent after what: the methods, the credentials if the proxy has asked for them, the request.
    messages = [b'\5\2\0\2' if credentials else b'\5\1\0']
    if case.response[1:2] == b'\2':
        messages.append(b'\1\4user\x08password')
    messages.append(b'\5\1\0\3\x0bexample.com\1\xbb')
    for number in range(len(messages)):
        if sent == b''.join(messages[: number + 1]):
            return outcome, code, taken, number + 1
    raise Finding(f'{sent!r} was sent')


# Events


async def read_sse(case: Case) -> object:
    below = body_of(*pieces(case.response, case.sizes))
    stream = lowhaio_sse.events(below, max_bytes=most_event(case))
    found: list[tuple[str, str, str]] = []
    problem = None
    try:
        async for event in stream:
            found.append((event.type, event.data, event.last_id))
            if stream.last_id != event.last_id:
                raise Finding('the last id is not that of the event')
    except lowhaio_sse.LimitError as error:
        problem = named(error)
    return tuple(found), stream.last_id, stream.retry, problem


def most_event(case: Case) -> int:
    return MOST_EVENT if case.method == b'limited' else 1_000_000


# Content codings

DECOMPRESSORS: dict[bytes, Callable[[], lowhaio_codings.Decompressor]] = {
    **lowhaio_gzip.DECOMPRESSORS,
    b'zstd': lowhaio_codings.zstd(zstd),
    b'br': lowhaio_codings.brotli(brotli),
    b'bzip2': bz2.BZ2Decompressor,
    b'xz': partial(lzma.LZMADecompressor, memlimit=100_000_000),
}


def with_value(case: Case) -> tuple[bytes, bytes]:
    """The value of Content-Encoding, and the body."""
    value, _, body = case.response.partition(b'\n')
    return value, body


async def read_codings(case: Case) -> object:
    value, body = with_value(case)
    new = lowhaio_gzip.DECOMPRESSORS if case.method == b'gzip' else DECOMPRESSORS
    options = {'piece_bytes': PIECE_BYTES, 'max_bytes': MOST_CONTENT}
    below = body_of(*pieces(body, case.sizes))
    if case.method == b'gzip':
        undone = lowhaio_gzip.decompress(below, value, **options)
    else:
        undone = lowhaio_codings.decompress(below, value, new, **options)
    found = []
    try:
        async for piece in undone:
            if not 0 < len(piece) <= PIECE_BYTES:
                raise Finding(f'a piece of {len(piece)} bytes')
            found.append(piece)
    except (lowhaio_gzip.GzipError, lowhaio_codings.CodingError) as error:
        if sum(map(len, found)) > MOST_CONTENT:
            raise Finding('more bytes than allowed') from error
        is_first = isinstance(error, (lowhaio_gzip.UnknownCodingError, lowhaio_codings.UnknownCodingError))
        # Which of the others comes first depends on the pieces: what is too much, or what is broken.
        return named(error) if is_first or ' codings, over the limit' in str(error) else 'error'
    return b''.join(found)


def judge_codings(case: Case) -> object:
    new = lowhaio_gzip.DECOMPRESSORS if case.method == b'gzip' else DECOMPRESSORS
    return oracles.codings(*with_value(case), new, MOST_CONTENT)


# Exchanges


def response_of(case: Case) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """The code, the headers and the body that a case says; what can't come from the core is left out."""
    head, _, body = case.response.partition(b'\n\n')
    code, *lines = head.replace(b'\0', b'').replace(b'\r', b'').split(b'\n')
    split = [line.partition(b':') for line in lines]
    headers = [(name.lower(), value.strip(b' \t')) for name, colon, value in split if colon]
    return (code if len(code) == 3 and code.isdigit() else b'200'), headers, body


def collected(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found[name] = found[name] + (b'\n' if name == b'set-cookie' else b', ') + value if name in found else value
    return found


Exchange = Callable[[bytes, str, Mapping[bytes, bytes], Any], Any]


class BrokenOffError(Exception):
    """What a body raises that breaks off."""

    caller_erred = False


STARTS = {
    b'begin': lowhaio_resume.Position(),
    b'begin-breaks': lowhaio_resume.Position(),
    b'tag': lowhaio_resume.Position(4, 10, b'"tag"'),
    b'tag-breaks': lowhaio_resume.Position(4, 10, b'"tag"'),
    b'date': lowhaio_resume.Position(4, None, b'Sun, 06 Nov 1994 08:49:37 GMT'),
}


async def read_resume(case: Case) -> object:
    code, headers, body = response_of(case)
    start = STARTS[case.method]
    asked: list[Mapping[bytes, bytes]] = []

    @contextlib.asynccontextmanager
    async def exchange(method: bytes, url: str, wanted: Mapping[bytes, bytes], _: Any) -> AsyncIterator[Any]:
        asked.append(wanted)
        if len(asked) > 10:
            raise Finding('one request after the other')

        async def content() -> AsyncGenerator[bytes, None]:
            for piece in pieces(body, case.sizes):
                yield piece
            if case.method.endswith(b'-breaks'):
                raise BrokenOffError

        yield code, collected(headers), content()

    async def at_once(_: float) -> None:
        pass

    position = start
    download = lowhaio_resume.resumed(
        exchange, 'https://example.com/', {}, position=start, attempts=1, sleep=at_once, random=lambda: 0
    )
    try:
        async for piece, after in download:
            if after.offset != position.offset + len(piece) or piece not in body:
                raise Finding(f'{piece!r} is at {after.offset}, after {position.offset}')
            position = after
            if asked[-1].get(b'range') is None and code == b'206':
                raise Finding('a part that was not asked for')
    except (lowhaio_resume.ResumeError, BrokenOffError) as error:
        return named(error), None
    return 'ends', position.offset


def judge_resume(case: Case) -> object:
    code, headers, body = response_of(case)
    breaks = case.method.endswith(b'-breaks')
    return oracles.resume(STARTS[case.method], code, collected(headers), body, breaks=breaks)


KEY = b'dGhlIHNhbXBsZSBub25jZQ=='  # the one in RFC 6455, whose answer the tokens hold
OFFERS: dict[bytes, tuple[tuple[bytes, ...], tuple[bytes, ...]]] = {
    b'plain': ((), ()),
    b'offers': ((b'chat', b'superchat'), (b'permessage-deflate; client_max_window_bits', b'x-a', b'x-a;b="c"')),
}


async def read_websocket(case: Case) -> object:
    protocols, extensions = OFFERS[case.method]
    opening = lowhaio_websocket.opening(subprotocols=protocols, extensions=extensions)
    code, headers, _ = response_of(case)

    async def received() -> AsyncIterator[tuple[bytes, bytes, int]]:
        for cursor, (name, value) in enumerate(headers):
            yield name, value, cursor

    found, _ = await lowhaio_dict.collect(received(), 0)
    try:
        return lowhaio_websocket.check({**opening, b'sec-websocket-key': KEY}, code, found)
    except lowhaio_websocket.HandshakeError as error:
        return named(error)


def judge_websocket(case: Case) -> object:
    protocols, extensions = OFFERS[case.method]
    names = [extension.split(b';')[0] for extension in extensions]
    code, headers, _ = response_of(case)
    return oracles.websocket(KEY, protocols, names, code, collected(headers))


def answered(*answers: tuple[bytes, dict[bytes, bytes]]) -> tuple[Exchange, list[tuple[str, Mapping[bytes, bytes]]]]:
    """An exchange that answers so, and what it is asked."""
    asked: list[tuple[str, Mapping[bytes, bytes]]] = []

    @contextlib.asynccontextmanager
    async def exchange(method: bytes, url: str, headers: Mapping[bytes, bytes], _: Any) -> AsyncIterator[Any]:
        asked.append((url, headers))
        yield *answers[len(asked) - 1], body_of()

    return exchange, asked


async def read_redirect(case: Case) -> object:
    exchange, asked = answered((b'302', {b'location': case.response}), (b'200', {}))
    call = lowhaio_redirect.redirected(exchange)
    try:
        async with call(b'GET', BASES[case.method], {b'authorization': b'x', b'accept': b'*/*'}, None) as (code, _, _):
            pass
    except lowhaio_redirect.RedirectError as error:
        return (named(error),)
    (_, (url, headers)) = asked
    if code != b'200' or b'accept' not in headers:
        raise Finding(f'{code!r} after {headers}')
    return 'to', url, b'authorization' in headers


class Recorder:
    """What `lowhaio_request` takes for a pool, with a connection that sends nothing and receives one response."""

    chunked = False

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.sent = b''

    @contextlib.asynccontextmanager
    async def connection(self, _: Any, port: int, context: object, *, server_hostname: str) -> AsyncIterator[Any]:
        self.asked += [context, server_hostname, port]
        yield self

    async def send(self, _: object, data: bytes) -> None:
        self.sent += data

    async def recv_status_line(self, _: object, cursor: int) -> tuple[bytes, int]:
        return b'204', cursor

    async def recv_headers(self, _: object, cursor: int) -> AsyncIterator[tuple[bytes, bytes, int]]:
        nothing: list[tuple[bytes, bytes, int]] = []
        for header in nothing:
            yield header

    async def recv_body(self, _: object, cursor: int) -> AsyncIterator[bytes]:
        nothing: list[bytes] = []
        for piece in nothing:
            yield piece


async def read_request(case: Case) -> object:
    recorder = Recorder()

    async def resolve(host: str, port: int) -> list[Any]:
        recorder.asked += [host, port]
        return []

    call = lowhaio_request.exchange(
        recorder,
        https=True,
        http=False,
        collect=lowhaio_dict.collect,
        serialize=lowhaio_dict.serialize,
        encode=lowhaio_chunked.encode,
        decode=lowhaio_chunked.decode,
        resolve=resolve,
    )
    try:
        async with call(case.method, text_of(case.response), {}, None):
            pass
    except ValueError:
        if recorder.asked:
            raise Finding('refused when the name was resolved already') from None
        return ('ValueError',)
    *resolved, secure, host, port = recorder.asked
    if resolved != [host, port]:
        raise Finding(f'{resolved} was resolved, and {host} at {port} connected to')
    return secure, host, port, recorder.sent.removesuffix(b'\r\n')


def text_of(data: bytes) -> str:
    try:
        return data.decode()
    except ValueError:
        return data.decode('latin-1')


async def read_retry(case: Case) -> object:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    exchange, asked = answered((case.method, {b'retry-after': case.response}), (b'200', {}))
    call = lowhaio_retry.retried(
        exchange,
        attempts=2,
        max_retry_after_seconds=MOST_WAIT,
        sleep=sleep,
        random=lambda: 0.0,
        now=lambda: NOW,
    )
    async with call(b'GET', 'https://example.com/', {}, None) as (code, _, _):
        pass
    if code == case.method and len(asked) == 1 and not slept:
        return None
    if code != b'200' or len(asked) != 2 or len(slept) != 1 or not 0 <= slept[0] <= MOST_WAIT:
        raise Finding(f'{code!r} after {slept}')
    return slept[0]


# Forms


def parts_of(case: Case) -> list[tuple[str, bytes, str | None, bytes | None]]:
    """The name, the content, the file's name and the content type of each part."""
    found: list[tuple[str, bytes, str | None, bytes | None]] = []
    for text in case.response.split(b'\x1e'):
        name, *rest = text.split(b'\x1f')
        held = rest[0] if rest else b''
        filename = text_of(rest[1]) if len(rest) > 1 else None
        found.append((text_of(name), held, filename, rest[2] if len(rest) > 2 else None))
    return found


async def read_multipart(case: Case) -> object:
    parts = []
    for name, held, filename, kind in parts_of(case):
        made = partial(body_of, *pieces(held, case.sizes))
        content, size = (made, len(held)) if case.method == b'made' else (held, None)
        parts.append(lowhaio_multipart.Part(name, content, size, filename, kind))
    try:
        form = lowhaio_multipart.Form(parts, boundary=b'b')
        sent = b''.join([piece async for piece in form.body()])
    except (ValueError, lowhaio_multipart.BoundaryError) as error:
        return named(error)
    if not len(sent) == form.length == int(form.headers[b'content-length']):
        raise Finding(f'{len(sent)} bytes, {form.length} in all')
    return tuple(parsed(sent))


def parsed(sent: bytes) -> Iterator[tuple[bytes, bytes, bytes | None, bytes | None]]:
    """The parts of a form, as a server reads them: RFC 2046 section 5.1.1."""
    first, *bodies = (b'\r\n' + sent).split(b'\r\n--b')
    if first or bodies.pop() != b'--\r\n':
        raise Finding('not a form')
    for body in bodies:
        head, _, content = body.partition(b'\r\n\r\n')
        nothing, disposition, *rest = head.split(b'\r\n')
        if nothing or len(rest) > 1:
            raise Finding(f'{head!r} in the place of the headers')
        start, name, between, *file = disposition.split(b'"')
        if (start, between) not in {
            (b'Content-Disposition: form-data; name=', b''),
            (b'Content-Disposition: form-data; name=', b'; filename='),
        }:
            raise Finding(f'{disposition!r} in the place of the disposition')
        if bool(between) != (len(file) == 2):
            raise Finding(f'{disposition!r} in the place of the disposition')
        kind = rest[0].removeprefix(b'Content-Type: ') if rest else None
        yield name, content, file[0] if file else None, kind


def judge_multipart(case: Case) -> object:
    return oracles.multipart(parts_of(case), b'b', made=case.method == b'made')


def words(text: bytes) -> list[bytes]:
    """Tokens, with a bar between them."""
    return text.split(b'|')


READERS = {
    'connect': Reader(
        (lowhaio_tunnel,),
        (b'open', b'login'),
        (
            *words(b'\r\n|\n|\r|\0| |\t|:|a|\xff|2|200|101|100|407|401|403|\r\n\r\n|HTTP/1.1 200 OK\r\n'),
            *words(b'HTTP/1.0 '),
            *words(b'HTTP/1.1 100 Continue\r\n\r\n|HTTP/1.1 407 No\r\n|Content-Length: 5\r\n|\r\n \r\n'),
            *words(b'a: b\r\n'),
        ),
        read_connect,
        lambda case: oracles.connect(case.response),
    ),
    'socks5': Reader(
        (lowhaio_tunnel,),
        (b'open', b'login'),
        (
            *(b'\0', b'\1', b'\2', b'\3', b'\4', b'\5', b'\x08', b'\xff', b'\5\0', b'\5\2', b'\1\0', b'\5\xff'),
            *(b'\5\0\0\1\0\0\0\0\0\0', b'\5\0\0\3', b'\5\0\0\4', bytes(16), b'\5\0\5\0\0\1'),
        ),
        read_socks5,
        lambda case: oracles.socks5(case.response, login=case.method == b'login'),
    ),
    'sse': Reader(
        (lowhaio_sse,),
        (b'default', b'limited'),
        (
            *words(b'\r\n|\n|\r|\n\n|\r\r|\r\n\r\n|:| |\0|\xef\xbb\xbf|\xef|\xe2\x82|\xff|data|data: x|data:'),
            *words(b'\ndata|id|'),
            *words(b'id: 1\n|id: \0\n|event: e\n|retry: 10\n|retry: 1x\n|retry: 0000000000000000000000001\n'),
            *words(b': c\n'),
            *(b'retry: \xd9\xa1\n', b'retry:' + b'9' * 16, b'x' * MOST_EVENT, b'x' * (MOST_EVENT - 7)),
        ),
        read_sse,
        lambda case: oracles.sse(case.response, most_event(case)),
    ),
    'codings': Reader(
        (lowhaio_codings, lowhaio_gzip),
        (b'gzip', b'all'),
        (
            *words(b'gzip|x-gzip|deflate|br|zstd|bzip2|xz|identity|,| |, |\t|GZip|\n|gzip, gzip|br, br'),
            *words(b'zstd,zstd|,,,'),
            *(b'\x1f\x8b\x08\0', b'\x78\x9c', b'(\xb5/\xfd', b'\x50\x2a\x4d\x18\0\0\0\0', b'BZh9', b'\xfd7zXZ\0'),
            *(b'\0', b'\xff', bytes(PIECE_BYTES)),
        ),
        read_codings,
        judge_codings,
    ),
    'resume': Reader(
        (lowhaio_resume,),
        (b'begin', b'begin-breaks', b'tag', b'tag-breaks', b'date'),
        (
            *words(b'\n|200|206|416|304|500|bytes |4-9/10|4-9/*|0-9/10|*/10|*/4|-|/|*|4|9|10'),
            *words(b'99999999999999999999|"|W/'),
            *words(b'content-range: bytes 4-9/10\n|content-range: bytes 4-9/*\n|content-range: bytes */4\n'),
            *words(b'etag: "tag"\n'),
            *words(b'content-length: 6\n|transfer-encoding: chunked\n'),
            *words(b'last-modified: Sun, 06 Nov 1994 08:49:37 GMT\n'),
            *words(b'date: Sun, 06 Nov 1994 08:49:38 GMT\n|date: Sun, 06 Nov 1994 08:49:37 GMT\n|BYTES|+|_'),
            *words(b'\xd9\xa1|\n\n'),
            b'456789',
        ),
        read_resume,
        judge_resume,
    ),
    'websocket': Reader(
        (lowhaio_websocket, lowhaio_dict),
        (b'plain', b'offers'),
        (
            *words(b'\n|101|200|,|;|=|"| |\t|upgrade|websocket|chat|superchat|x-a|x-a;b="c"|x-a; b'),
            *words(b'permessage-deflate'),
            *words(b'upgrade: websocket\n|connection: Upgrade\n|connection: keep-alive, upgrade\n'),
            *words(b'UPGRADE: WebSocket\n'),
            *words(b'sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n|sec-websocket-protocol: chat\n'),
            *words(b'sec-websocket-extensions: permessage-deflate; a=1; b="2"\n'),
            *words(b'sec-websocket-extensions: x-a, x-a\n'),
        ),
        read_websocket,
        judge_websocket,
    ),
    'redirect': Reader(
        (lowhaio_redirect,),
        tuple(BASES),
        (
            *words(b'/|//|..|../|./|/../|/./|?|#|:|@|[|]|[::1]|%|%2e|%2F|;|&|=|\\|\t|\r\n| |,|\xc3\xa9|\xff|\0'),
            *words(b'"|<'),
            *words(b'http://|https://|HTTP:|https:|ftp:|javascript:|mailto:a@b|example.com|EXAMPLE.com'),
            *words(b'example.org'),
            *words(b':80|:443|:8080|:0443|:|:99999|//example.com|a:b|1:b|x/y'),
        ),
        read_redirect,
        lambda case: oracles.redirect(BASES[case.method], case.response),
    ),
    'request': Reader(
        (lowhaio_request, lowhaio_dict),
        (b'GET', b'OPTIONS'),
        (
            *words(b'/|//|?|#|:|@|[|]|[::1]|[v1.a]|%|%2e|%zz|;|&|=|\\|\t|\r\n| |\xc3\xa9|\xff|\0|\x7f|"|<|^|`|'),
            *words(b'~'),
            *words(b'http://|https://|HTTP://|https:|example.com|EXAMPLE.com|xn--|a..b|.|_|-|:80|:443|:0'),
            *words(b':65536|:00080'),
            *(
                letter.encode()
                for letter in '\u00df\u03c2\u00e9\u3002\uff0e\ufb00\u0130\uff11\u0660\u200d\u202e\u2028\uff0f'
            ),
        ),
        read_request,
        lambda case: oracles.request(case.method, text_of(case.response)),
    ),
    'retry': Reader(
        (lowhaio_retry,),
        (b'429', b'503'),
        (
            *words(b'0|9|99999|100000|100001|-|+|.|e|_|:| |,|\t|\xd9\xa1|\xff|GMT|EST|+0100|-9999|Sun, '),
            *words(b'Sunday, |Nov|06'),
            *words(b'1994|94|2094|99|08:49:37|08:49:60|24:00:00|Sun, 06 Nov 1994 08:49:37 GMT|06 Nov 1994'),
            *words(b'Jan 0 '),
            *words(b'Sunday, 06-Nov-94 08:49:37 GMT|Sun Nov  6 08:49:37 1994|inf|nan|1e5'),
            b'9' * 400,
        ),
        read_retry,
        lambda case: oracles.retry_after(case.response, NOW, MOST_WAIT),
    ),
    'multipart': Reader(
        (lowhaio_multipart,),
        (b'held', b'made'),
        (
            *words(b'\r\n|\r|\n|"|--b|\r\n--b|\r\n--b--|\r\n--|--|b|; filename="|%22|%0D|\x1e|\x1f|\0|\xff'),
            *words(b'\xc3\xa9|\xc3'),
            *words(b'text/plain|\x1ff\x1ft|a\x1fb\x1e|Content-Type: |\xe2\x80\xa8|\xc2\x85'),
        ),
        read_multipart,
        judge_multipart,
    ),
}
