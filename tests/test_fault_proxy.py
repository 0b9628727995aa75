"""A proxy between the client and a real server does harm at every byte of a request and of its response.

For each: the right error with the right figures, after a bounded number of waits; nothing left open; the next request
on the same pool succeeds. And whoever follows the rule of `support.retry` never has a request done twice that must
not be.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import ssl
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLContext
from support.certificates import HOST
from support.loops import ClockLoop
from support.proxy import Direction, Fault, FaultProxy, Harm, Passage
from support.real import RealServer
from support.retry import retried
from support.scripted import Server, scripted
from support.sockets import clients_of
from support.stepping import NEVER, cancelled_at

REQUEST, RESPONSE = Direction
GET = b'GET / HTTP/1.1\r\nhost: a\r\n\r\n'
POST = b'POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello'
HELLO = (b'200', b'hello')
ECHO = (b'200', b'5 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824')
PLAIN = NonSSLContext()
WAITS = 500
"""More than any of these exchanges waits, byte by byte included, and far fewer than one that turns in circles."""

Answer = tuple[bytes, bytes]


def settings(**changed: float) -> dict[str, Any]:
    usual = {
        'max': 1,
        'max_wait_connection_seconds': 60,
        'max_requests_per_connection': 1000,
        'max_idle_seconds': 0,
        'max_wait_send_recv_seconds': 60,
        'chunk_bytes': 65536,
    }
    return usual | changed


class Client:
    """A pool of one place that goes through the proxy."""

    def __init__(
        self, pool: lowhaio.Pool, server: Server, proxy: FaultProxy, context: NonSSLContext | ssl.SSLContext
    ) -> None:
        self.pool = pool
        self.server = server
        self.proxy = proxy
        self.context = context
        self.name = HOST if isinstance(context, ssl.SSLContext) else None

    async def exchange(self, request: bytes = GET, pause_at: int | None = None) -> Answer:
        """Send the request, waiting at a byte until the fault has been done, and receive the response."""
        async with self.pool.connection(
            self.server.address, self.server.port, self.context, server_hostname=self.name
        ) as connection:
            if pause_at is not None:
                # The first send of a request holds its method and a space.
                pause_at = pause_at and max(pause_at, request.find(b' ') + 1)
                await self.pool.send(connection, request[:pause_at])
                await self.proxy.done.wait()
                request = request[pause_at:]
            await self.pool.send(connection, request)
            code, cursor = await self.pool.recv_status_line(connection)
            async for _, _, cursor in self.pool.recv_headers(connection, cursor):
                pass
            return code, b''.join([piece async for piece in self.pool.recv_body(connection, cursor)])

    async def outcome(self, request: bytes, pause_at: int | None = None) -> Answer | lowhaio.LowhaioError:
        """The answer or the error."""
        outcome: list[Answer | lowhaio.LowhaioError] = []

        async def exchange() -> None:
            outcome.append(await outcome_of(self.exchange(request, pause_at)))

        assert (await cancelled_at(exchange, NEVER)).suspensions < WAITS
        return outcome[0]

    async def after(self, fault: Fault, request: bytes, *, wait: bool = False) -> Answer | lowhaio.LowhaioError:
        """The outcome of the request with this fault; afterwards the pool is whole."""
        self.proxy.arm(fault)
        outcome = await self.outcome(request, fault.at if wait else None)
        await self.check()
        return outcome

    async def response_to(self, request: bytes) -> bytes:
        """What the real server sends."""
        await self.exchange(request)
        return b''.join(self.proxy.passages[-1].response.rpartition(b'HTTP/1.1')[1:])

    async def check(self) -> None:
        """Nothing is open, and the next request succeeds. What that one leaves open, the next check finds."""
        assert clients_of(self.server.port) == 0
        assert await self.exchange() == HELLO


@contextlib.asynccontextmanager
async def client_of(
    port: int, context: NonSSLContext | ssl.SSLContext = PLAIN, **changed: float
) -> AsyncIterator[Client]:
    proxy = FaultProxy(port)
    async with scripted(proxy) as server, lowhaio.connection_pool(**settings(**changed)) as pool:
        yield Client(pool, server, proxy, context)
        assert changed.get('max_idle_seconds') or clients_of(server.port) == 0


@pytest.fixture(scope='session', params=['granian', 'nginx'])
def behind(request: pytest.FixtureRequest) -> RealServer:
    """The real server behind the proxy."""
    server: RealServer = request.getfixturevalue(request.param)
    return server


requests = pytest.mark.parametrize('request_', [GET, POST], ids=['GET', 'POST'])
ENDS: list[Harm] = [Passage.close, Passage.close_later, Passage.reset, Passage.half_close]
ends = pytest.mark.parametrize('harm', ENDS)


def figures(error: Answer | lowhaio.LowhaioError) -> tuple[type, int, int, bool]:
    assert isinstance(error, lowhaio.LowhaioError), error
    return type(error), error.bytes_sent, error.bytes_received, error.reused


@requests
@ends
async def test_end_after_every_byte_of_the_request(harm: Harm, request_: bytes, behind: RealServer) -> None:
    """The rest of the request is sent after the end."""
    async with client_of(behind.http_port) as client:
        outcome = await client.after(Fault(REQUEST, 0, harm), request_, wait=True)
        assert figures(outcome) == (lowhaio.UnsentClosedError, 0, 0, False)
        for at in range(1, len(request_) + 1):
            outcome = await client.after(Fault(REQUEST, at, harm), request_, wait=True)
            kind, sent, received, reused = figures(outcome)
            assert (kind, received, reused) == (lowhaio.SentClosedError, 0, False), at
            assert at <= sent <= len(request_)


@requests
async def test_answer_before_every_byte_of_the_request(request_: bytes, behind: RealServer) -> None:
    """What the server says is no response; where it says it before the request, no response is even looked for."""
    async with client_of(behind.http_port) as client:
        outcome = await client.after(Fault(REQUEST, 0, Passage.babble), request_, wait=True)
        assert figures(outcome)[:2] == (lowhaio.UnsentRemoteProtocolError, 0)
        for at in range(1, len(request_) + 1):
            outcome = await client.after(Fault(REQUEST, at, Passage.babble), request_, wait=True)
            kind, sent, received, _ = figures(outcome)
            assert (kind, sent) == (lowhaio.SentRemoteProtocolError, len(request_)), at
            assert received > 0


@requests
async def test_garbage_put_into_every_place_of_the_request(request_: bytes, behind: RealServer) -> None:
    """The server judges it. Its answer, or its refusal to give one, comes out as it is."""
    async with client_of(behind.http_port) as client:
        outcomes = set()
        for at in range(len(request_) + 1):
            outcome = await client.after(Fault(REQUEST, at, Passage.insert_into_request), request_)
            if isinstance(outcome, lowhaio.LowhaioError):
                # What is put before the first byte may be refused before that byte is sent.
                before = (lowhaio.UnsentClosedError, lowhaio.UnsentRemoteProtocolError) if at == 0 else ()
                assert isinstance(outcome, (lowhaio.SentClosedError, *before)), at
                outcomes.add(b'closed')
            else:
                outcomes.add(outcome[0])
        assert outcomes <= {b'200', b'400', b'closed'}
        assert len(outcomes) >= 2


@requests
@ends
async def test_end_after_every_byte_of_the_response(harm: Harm, request_: bytes, behind: RealServer) -> None:
    """The response is cut short there, or whole."""
    async with client_of(behind.http_port) as client:
        size = len(await client.response_to(request_))
        for at in range(size):
            outcome = await client.after(Fault(RESPONSE, at, harm), request_)
            assert figures(outcome) == (lowhaio.SentClosedError, len(request_), at, False)
        assert await client.after(Fault(RESPONSE, size, harm), request_) in (HELLO, ECHO)


@requests
async def test_byte_put_into_every_place_of_the_response(request_: bytes, behind: RealServer) -> None:
    """In the head it is refused. In the body it can't be told, but the response is longer than it said."""
    async with client_of(behind.http_port) as client:
        response = await client.response_to(request_)
        body = response.partition(b'\r\n\r\n')[2]
        head = len(response) - len(body)
        for at in range(len(response) + 1):
            outcome = await client.after(Fault(RESPONSE, at, Passage.insert), request_)
            if at < head:
                assert figures(outcome)[:2] == (lowhaio.SentRemoteProtocolError, len(request_)), at
            else:
                changed = body[: at - head] + b'\0' + body[at - head :]
                assert outcome == (b'200', changed[: len(body)])


@requests
async def test_drip(request_: bytes, behind: RealServer) -> None:
    """Both directions byte by byte."""
    async with client_of(behind.http_port) as client:
        for direction in Direction:
            assert await client.after(Fault(direction, 0, Passage.drip), request_) in (HELLO, ECHO)
            assert await client.after(Fault(direction, 20, Passage.drip), request_) in (HELLO, ECHO)


@requests
async def test_stall_at_every_byte(request_: bytes, behind: RealServer, clock: ClockLoop) -> None:
    """`max_wait_send_recv_seconds` after the last byte, and not before."""
    async with client_of(behind.http_port) as client:
        size = len(await client.response_to(request_))
        for direction, at in [
            *((REQUEST, at) for at in range(len(request_) + 1)),
            *((RESPONSE, at) for at in range(size)),
        ]:
            client.proxy.arm(Fault(direction, at, Passage.stall))
            pause_at = at if direction is REQUEST else None
            attempt = asyncio.create_task(client.outcome(request_, pause_at))
            await client.proxy.done.wait()
            await clock.idle()
            clock.advance(59)
            await clock.idle()
            assert not attempt.done()
            clock.advance(1)
            received = at if direction is RESPONSE else 0
            assert figures(await attempt) == (lowhaio.SentTimeoutError, len(request_), received, False)
            await client.check()
        assert await client.after(Fault(RESPONSE, size, Passage.stall), request_) in (HELLO, ECHO)


# TLS: the proxy sees nothing but records


@pytest.mark.parametrize('direction', Direction)
@pytest.mark.parametrize('harm', [*ENDS, Passage.insert, Passage.spoil_request])
async def test_fault_in_a_tls_stream(
    harm: Harm, direction: Direction, behind: RealServer, client_tls: ssl.SSLContext
) -> None:
    """The right answer or an error, no other answer, from the handshake on, at one byte in 47."""
    async with client_of(behind.https_port, client_tls) as client:
        await client.check()
        passage = client.proxy.passages[-1]
        size = len(passage.request if direction is REQUEST else passage.response)
        errors = set()
        for at in range(0, size, 47):
            outcome = await client.after(Fault(direction, at, harm), GET)
            if isinstance(outcome, tuple):
                assert outcome == HELLO
            else:
                errors.add(type(outcome))
                assert bool(outcome.bytes_sent) is isinstance(outcome, lowhaio.SentError)
        assert errors
        assert all(issubclass(error, (lowhaio.ClosedError, lowhaio.TLSError)) for error in errors)


# The rule of `support.retry`

HARMS: list[Harm] = [*ENDS, Passage.stall, Passage.babble, Passage.drip]


@dataclass(frozen=True)
class Try:
    """A request, and a fault on a connection that is new or used again."""

    request: bytes
    answer: Answer
    idempotent: bool


TRIES = {'GET': Try(GET, HELLO, idempotent=True), 'POST': Try(POST, ECHO, idempotent=False)}


@pytest.mark.parametrize('reused', [False, True], ids=['new', 'reused'])
@pytest.mark.parametrize('harm', HARMS)
@pytest.mark.parametrize('try_', TRIES.values(), ids=TRIES)
async def test_retry(try_: Try, harm: Harm, reused: bool, behind: RealServer, clock: ClockLoop) -> None:
    """Idempotent requests always succeed; others too, where no byte was sent; and they are never done twice."""
    async with client_of(behind.http_port, max_idle_seconds=60 if reused else 0) as client:
        earlier = len(GET), len(await client.response_to(GET))
        size = len(await client.response_to(try_.request))
        skipped = earlier if reused else (0, 0)
        places = [(REQUEST, at) for at in range(len(try_.request) + 1)]
        if harm is not Passage.babble:
            places += [(RESPONSE, at) for at in range(size)]
        for direction, at in places:
            clock.advance(60)  # no connection is left idle
            await clock.idle()
            client.proxy.arm(Fault(direction, at, harm, skipped))
            first = len(client.proxy.passages)
            if reused:
                await client.exchange(GET)
            pause_at = at if direction is REQUEST else None
            exchange = functools.partial(client.exchange, try_.request, pause_at)
            attempts = asyncio.create_task(outcome_of(retried(exchange, idempotent=try_.idempotent)))
            if harm is Passage.stall:
                await client.proxy.done.wait()
                await clock.idle()
                clock.advance(60)
            outcome = await attempts
            faulty, *others = (len(passage.request) for passage in client.proxy.passages[first:])
            done = (faulty > skipped[0]) + len(others)
            if isinstance(outcome, lowhaio.LowhaioError):
                assert isinstance(outcome, lowhaio.SentError)
                assert not try_.idempotent
                assert done <= 1
                assert (direction, at) != (REQUEST, 0) or harm is Passage.stall
            else:
                assert outcome == try_.answer
                assert done == 1 or try_.idempotent


async def outcome_of(exchange: Awaitable[Answer]) -> Answer | lowhaio.LowhaioError:
    try:
        return await exchange
    except lowhaio.LowhaioError as error:
        return error


def test_rule_is_the_one_of_the_documentation() -> None:
    """What was shown here is shown of what readers copy, which prints the error in addition."""
    page = (Path(__file__).parent.parent / 'docs' / 'recipes' / 'retry.md').read_text()
    body = inspect.getsource(retried).partition('"""')[2]
    assert body + '            print(error)\n' in page
