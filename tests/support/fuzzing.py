r"""A fuzzer of the response path: the status line, the headers, the framing, chunked and gzip.

A `Case` is a response, the method that it answers, and the sizes of the pieces in which it comes. `Player.check(case)`
plays it twice through the public functions, whole and in its pieces, on a pool of one place that serves all cases. It
raises `Finding` unless

- what comes out is what `support.oracle` says, both times: the content, or an error that is documented;
- the connection is used again only where the oracle allows it; then the next response on it, or on a new one, is its
  own;
- at most `steps_allowed` lines of the packages were run, and at most one receive was done for each piece and a few.

The socket is a real one. What is scripted is when its bytes arrive: after a piece one receive finds nothing.
The server closes the connection when the client has everything and asks for more. All of this happens in one thread
and depends on nothing but the case.

`Fuzzer` makes cases: it mutates those that it knows, and keeps those that reach a step from one line to another that
none has reached before.

What the recipes read besides is in `support.readers`, for the same `Fuzzer`.

In a file a case begins with a line that holds the method and the sizes, `GET 1 5`. The bytes of the response follow.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import random
import re
import socket
import sys
import tempfile
import types
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

import lowhaio
import lowhaio_chunked
import lowhaio_gzip
from lowhaio_nonssl import NonSSLSocket

from .oracle import Verdict, content, judged

LIMIT = 256
"""The `chunk_bytes` of the pool."""
MOST_BYTES = 4096
"""No mutated response is longer."""
MOST_CONTENT = 65536
"""The `max_bytes` of the decompression."""

REQUESTS = {
    b'GET': b'GET / HTTP/1.1\r\nhost: example.com\r\n\r\n',
    b'HEAD': b'HEAD / HTTP/1.1\r\nhost: example.com\r\n\r\n',
    b'POST': b'POST / HTTP/1.1\r\nhost: example.com\r\ncontent-length: 4\r\n\r\nbody',
    b'CONNECT': b'CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n',
}
METHODS = tuple(REQUESTS)
PROBE = b'GET /probe HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n'
PROBED = b'HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nprobed'

PACKAGES = tuple(str(Path(str(m.__file__)).parent) for m in (lowhaio, lowhaio_chunked, lowhaio_gzip))
FOLD = re.compile(rb'\r\n[ \t]')
CODINGS = (b'gzip', b'x-gzip', b'deflate')
REFUSALS = (lowhaio.SentRemoteProtocolError, lowhaio.SentClosedError, lowhaio_chunked.ChunkedError)


class Finding(Exception):
    """The client did with a case what it must not do."""


@dataclass(frozen=True)
class Case:
    """One response. Without sizes it arrives whole; with them they are taken in turn, over and over."""

    method: bytes
    response: bytes
    sizes: tuple[int, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """What `dump` returned."""
        line, _, response = data.partition(b'\n')
        method, *sizes = line.split()
        return cls(method, response, tuple(int(size) for size in sizes))

    def dump(self) -> bytes:
        """A file's content."""
        return b'%b\n%b' % (b' '.join([self.method, *(b'%d' % size for size in self.sizes)]), self.response)


def corpus(folder: Path, suffix: str = '.http') -> list[Case]:
    """The cases in the files of a folder."""
    return [Case.parse(path.read_bytes()) for path in sorted(folder.glob(f'*{suffix}'))]


def save(case: Case, folder: Path, suffix: str = '.http') -> Path:
    """Write a case to a file named after its content."""
    path = folder / f'found-{hashlib.sha256(case.dump()).hexdigest()[:16]}{suffix}'
    path.write_bytes(case.dump())
    return path


class Wire:
    """A context whose sockets receive what is in `rest`, piece by piece, while it is armed."""

    def __init__(self) -> None:
        self.receives = 0
        self._peer: socket.socket | None = None
        self._rest = memoryview(b'')
        self._sizes: Iterator[int] | None = None
        self._pause = True

    def wrap_socket(self, sock: socket.socket, **_: object) -> socket.socket:
        wrapped = ScriptedSocket(sock.family, sock.type, sock.proto, sock.detach())
        wrapped.wire = self
        return wrapped

    def arm(self, peer: socket.socket, response: bytes, sizes: Sequence[int]) -> None:
        """Have the server send the response, as far as the connection takes it; the rest when that is received."""
        self.receives = 0
        self._pause = True
        self._peer, self._rest = peer, memoryview(response)
        self._sizes = itertools.cycle(sizes) if sizes else None
        self._go_on()

    def disarm(self) -> None:
        """From now on a receive gets what there is."""
        self._peer = None

    def receive(self, sock: socket.socket, size: int) -> bytes:
        if self._peer is None:
            return socket.socket.recv(sock, size)
        self.receives += 1
        self._pause = self._sizes is not None and not self._pause
        if self._sizes is not None and not self._pause:
            size = min(size, next(self._sizes))
        try:
            data = socket.socket.recv(sock, size, socket.MSG_PEEK if self._pause else 0)
        except BlockingIOError:
            self._go_on()
            raise
        if self._pause:
            raise BlockingIOError
        return data

    def _go_on(self) -> None:
        assert self._peer is not None
        if self._rest:
            self._rest = self._rest[self._peer.send(self._rest[:65536]) :]
        else:
            self._peer.shutdown(socket.SHUT_WR)


class ScriptedSocket(NonSSLSocket):
    """A plain socket whose receives are those of its wire."""

    wire: Wire

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        return self.wire.receive(self, size)

    def unwrap(self) -> socket.socket:
        return self  # Python refuses to turn an object with attributes into a plain socket


Edge = tuple[types.CodeType, int, int]


class Tracer:
    """Counts the lines of the packages that are run, and remembers which came after which."""

    def __init__(self, packages: tuple[str, ...] = PACKAGES) -> None:
        self.packages = packages
        self.edges: set[Edge] = set()
        self.steps = 0
        self.steps_allowed = sys.maxsize

    @contextlib.contextmanager
    def tracing(self, steps_allowed: int) -> Iterator[None]:
        """Count while in here. A line too many raises Finding."""
        self.steps, self.steps_allowed = 0, steps_allowed
        before = sys.gettrace()
        sys.settrace(self._on_call)
        try:
            yield
        finally:
            sys.settrace(before)

    def _on_call(self, frame: types.FrameType, event: str, arg: object) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(self.packages):
            return None
        last = 0
        edges = self.edges

        def on_line(frame: types.FrameType, event: str, arg: object) -> Any:
            nonlocal last
            if event == 'line':
                edges.add((code, last, frame.f_lineno))
                last = frame.f_lineno
                self.steps += 1
                if self.steps > self.steps_allowed:
                    raise Finding(f'more than {self.steps_allowed} lines were run')
            return on_line

        return on_line


def steps_allowed(case: Case) -> int:
    """Lines of code that a case may take: so many for an exchange, and so many for each byte that may be alone."""
    return 2000 + 100 * len(case.response) + 10 * MOST_CONTENT // LIMIT


async def receive(pool: lowhaio.Pool, connection: lowhaio.Connection, method: bytes) -> Verdict:
    """A caller that undoes chunks and the content coding."""
    codes: list[bytes] = []
    cursor = 0
    headers: list[tuple[bytes, bytes]] = []
    while not codes or (codes[-1].startswith(b'1') and codes[-1] != b'101'):
        code, cursor = await pool.recv_status_line(connection, cursor)
        codes.append(code)
        headers = []
        async for key, value, cursor in pool.recv_headers(connection, cursor):
            headers.append((key, value))
    body: AsyncGenerator[bytes, Any] = pool.recv_body(connection, cursor)
    if not is_tunnel(method, codes[-1]):
        if connection.chunked:
            body = lowhaio_chunked.decode(body)
        if coding := undone(headers):
            body = lowhaio_gzip.decompress(body, coding, piece_bytes=LIMIT, max_bytes=MOST_CONTENT)
    async with contextlib.aclosing(body):
        received = b''.join([piece async for piece in body])
    return Verdict(tuple(codes), tuple(headers), received)


def undone(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The content coding that the caller undoes, if there is one."""
    codings = [value.lower() for key, value in headers if key == b'content-encoding']
    return codings[0] if len(codings) == 1 and codings[0] in CODINGS else b''


Receive = Callable[[lowhaio.Pool, lowhaio.Connection, bytes], Awaitable[Verdict]]


class Player:
    """Plays cases, one after the other, on one pool. Made by `player()`."""

    def __init__(
        self,
        pool: lowhaio.Pool,
        listener: socket.socket,
        wire: Wire,
        limit: int,
        receive: Receive,
        *,
        counts: bool,
    ) -> None:
        self.tracer = Tracer()
        self.executions = 0
        self._pool = pool
        self._peer: socket.socket
        self._listener = listener
        self._wire = wire
        self._limit = limit
        self._receive = receive
        self._counts = counts
        self._address = [(socket.AF_UNIX, socket.SOCK_STREAM, 0, '', listener.getsockname())]

    async def check(self, case: Case) -> None:
        """Play the case whole, and in its pieces. Raises Finding."""
        for played in (replace(case, sizes=()), case) if case.sizes else (case,):
            try:
                await self._check(played)
            except Finding:
                raise
            except Exception as error:
                raise Finding(f'{error!r} escaped') from error

    async def play(self, case: Case) -> Verdict:
        """What the client makes of a case. The lines that it runs for it are in `tracer.steps`."""
        with contextlib.ExitStack() as peers:
            with self.tracer.tracing(steps_allowed(case)) if self._counts else contextlib.nullcontext():
                verdict = await self._play(case, peers)
            receives = self._wire.receives
            reusable = await self._probe(peers)
        if receives > 2 * (len(case.response) if case.sizes else len(case.response) // self._limit) + 6:
            raise Finding(f'{receives} receives for {len(case.response)} bytes')
        if self.tracer.steps > steps_allowed(case):
            raise Finding(f'{self.tracer.steps} lines were run')
        return replace(verdict, reusable=reusable)

    async def _check(self, case: Case) -> None:
        expected, kinds = expectation(case)
        verdict = await self.play(case)
        if verdict.error is None:
            if verdict != expected:
                raise Finding(f'{verdict} in the place of {expected}')
        elif not issubclass(verdict.error, kinds) or verdict.reusable > expected.reusable:
            raise Finding(f'{verdict} in the place of {expected}')

    async def _play(self, case: Case, peers: contextlib.ExitStack) -> Verdict:
        self.executions += 1
        async with self._connection() as connection:
            peer = self._peer = peers.enter_context(self._listener.accept()[0])
            await self._pool.send(connection, REQUESTS[case.method])
            peer.recv(65536)
            peer.setblocking(False)
            self._wire.arm(peer, case.response, case.sizes)
            try:
                return await self._receive(self._pool, connection, case.method)
            except (lowhaio.LowhaioError, lowhaio_chunked.ChunkedError, lowhaio_gzip.GzipError) as error:
                return Verdict(error=type(error))
            finally:
                self._wire.disarm()

    async def _probe(self, peers: contextlib.ExitStack) -> bool:
        """Whether the connection is used again. What is received next is the response to what is sent next."""
        async with self._connection() as connection:
            reused = connection.reused
            if not reused:
                self._peer = peers.enter_context(self._listener.accept()[0])
            await self._pool.send(connection, PROBE)
            self._peer.recv(65536)
            self._peer.sendall(PROBED)
            if (await receive(self._pool, connection, b'GET')).body != b'probed':
                raise Finding('the response to another request')
        return reused

    def _connection(self) -> lowhaio.Connection:
        return self._pool.connection(self._address, 0, self._wire)


def expectation(case: Case) -> tuple[Verdict, tuple[type[Exception], ...]]:
    """The verdict on what the caller receives, and what an error may be if there is one."""
    verdict = judged(case.method, case.response)
    coding = undone(verdict.headers)
    if verdict.error is not None:
        # Whether the chunks or the content coding is found broken first depends on the pieces.
        if coding:
            return verdict, (*REFUSALS, lowhaio_gzip.GzipError)
        # Folded lines are looked at when the head is whole. Where it is cut short, either error is right.
        cut_short = not verdict.headers and FOLD.search(case.response.rpartition(b'\r\n\r\n')[2])
        return verdict, (verdict.error, lowhaio.SentClosedError) if cut_short else (verdict.error,)
    if not coding or is_tunnel(case.method, verdict.codes[-1]):
        return verdict, ()
    whole = content(coding, verdict.body, MOST_CONTENT)
    if whole is None:
        return replace(verdict, error=lowhaio_gzip.GzipError), (lowhaio_gzip.GzipError,)
    return replace(verdict, body=whole), ()


def is_tunnel(method: bytes, code: bytes) -> bool:
    """Whether what follows the headers is no body of HTTP."""
    return code == b'101' or (method == b'CONNECT' and code.startswith(b'2'))


@contextlib.asynccontextmanager
async def player(limit: int = LIMIT, receive: Receive = receive, *, counts: bool = True) -> AsyncIterator[Player]:
    """A player with a pool of its own.

    limit: the `chunk_bytes` of the pool.
    receive: the client that is looked at.
    counts: count the lines that it runs, which makes it slower.
    """
    wire = Wire()
    settings = {'max_wait_connection_seconds': 60, 'max_idle_seconds': 60, 'max_wait_send_recv_seconds': 60}
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(Path(folder, 'socket')))
        listener.listen()
        async with lowhaio.connection_pool(max=1, max_requests_per_connection=2, chunk_bytes=limit, **settings) as pool:
            yield Player(pool, listener, wire, limit, receive, counts=counts)


TOKENS = (
    *b'\r\n|\n|\r|\0| |\t|:|;|,|0|9|f|-|\xff|101|100|204|304|\r\n\r\n|0\r\n\r\n|5\r\nhello\r\n|;a="b"|'.split(b'|'),
    *b'chunked, |gzip, |close, |keep-alive, '.split(b'|'),
    *b'HTTP/1.0 200 OK\r\n|HTTP/1.1 100 Continue\r\n\r\n|HTTP/1.1 204 No\r\n\r\n|HTTP/1.1 304 No\r\n'.split(b'|'),
    *b'Content-Length: 5\r\n|content-length: 5, 5\r\n|Transfer-Encoding: chunked\r\n'.split(b'|'),
    *b'Connection: close\r\n|connection: keep-alive\r\n'.split(b'|'),
    *b'Content-Encoding: gzip\r\n|content-encoding: deflate\r\n|\x1f\x8b\x08\0'.split(b'|'),
    *(b' ' * LIMIT, b'x' * LIMIT, b'a: b\r\n' * 9),
)
"""What is put into responses. Some end in nothing but these."""


class Checker(Protocol):
    """What a fuzzer needs of a player."""

    tracer: Tracer

    async def check(self, case: Case) -> None:
        """Raise Finding if the client does with the case what it must not do."""


class Fuzzer:
    """An endless supply of cases; the same one for the same seed."""

    def __init__(
        self,
        player: Checker,
        seeds: Sequence[Case],
        seed: int,
        *,
        methods: Sequence[bytes] = METHODS,
        tokens: Sequence[bytes] = TOKENS,
    ) -> None:
        self.cases = [*seeds]
        self.case = self.cases[0]
        self._player = player
        self._methods = methods
        self._tokens = tokens
        self._random = random.Random(seed)

    async def step(self) -> None:
        """Check a new case, which is `case` then, and keep it if it reaches something new. Raises Finding."""
        self.case = self._mutated(self._random.choice(self.cases))
        known = len(self._player.tracer.edges)
        await self._player.check(self.case)
        if len(self._player.tracer.edges) > known:
            self.cases.append(self.case)

    def _mutated(self, case: Case) -> Case:
        chance = self._random
        data = bytearray(case.response)
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            at = chance.randrange(len(data) + 1)
            end = min(len(data), at + chance.choice((1, 2, 8, 64)))
            match chance.randrange(7):
                case 0:
                    data[at:at] = chance.choice(self._tokens)
                case 1:
                    data[at:end] = chance.choice(self._tokens)
                case 2:
                    del data[at:end]
                case 3:
                    data[at:at] = data[at:end] * chance.choice((1, 1, 2, 30))
                case 4:
                    data[at:end] = chance.randbytes(end - at)
                case 5:
                    data[at:] = b''.join(chance.choices(self._tokens, k=chance.randrange(9)))
                case _:
                    other = chance.choice(self.cases).response
                    data[at:] = other[chance.randrange(len(other) + 1) :]
        sizes = [case.sizes, (), (1,), (1, 2), (LIMIT, 1), tuple(chance.choices((1, 2, 3, 7, 20, 100), k=5))]
        return Case(chance.choice((case.method, *self._methods)), bytes(data[:MOST_BYTES]), chance.choice(sizes))
