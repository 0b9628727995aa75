"""Every wrapper of exchanges keeps the contract, and the checks of the contract find wrappers that do not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from functools import partial
from typing import Any

import pytest

from lowhaio_redirect import redirected
from lowhaio_resume import resumed
from lowhaio_retry import retried
from support import exchange_conformance
from support.exchange_conformance import CHECKS, Case, Check, ExchangeContract, Raised
from support.exchanges import Exchange, Response, Triple


class Lost(Exception):
    """As the errors of lowhaio: it says that the request may be sent again."""

    bytes_sent = 10
    bytes_received = 0
    reused = False
    caller_erred = False


class Stale(Lost):
    """The same, on a connection that was kept."""

    reused = True


async def no_pause(seconds: float) -> None:
    await asyncio.sleep(0)


PLAIN = Case([Response()])
PIECES = Case([Response(content=[b'hel', b'lo'])])
MOVED = Response(b'302', {b'location': b'/elsewhere'}, [b'mo', b'ved'])
LATER = Response(b'503', {b'retry-after': b'1'}, [b'la', b'ter'])

RETRIED = partial(retried, sleep=no_pause)
REDIRECTED = [PLAIN, PIECES, Case([MOVED, Response()]), Case([MOVED, MOVED, MOVED, Response(content=[b'hel', b'lo'])])]
TRIED_AGAIN = [PLAIN, PIECES, Case([LATER, Response()]), Case([Lost, Stale, LATER, Response()])]

SAID = {b'content-length': b'5', b'etag': b'"1"'}
BROKEN = Response(b'200', SAID, [b'hel'], Lost)
REST = Response(b'206', {b'content-range': b'bytes 3-4/5'}, [b'l', b'o'])
RESUMED = [
    Case([Response(b'200', SAID)]),
    Case([Response(b'200', SAID, [b'hel', b'lo'])]),
    Case([BROKEN, REST]),
    Case([BROKEN, Response(b'206', {b'content-range': b'bytes 3-4/5'}, [], Lost), REST]),
]


def as_exchange(exchange: Exchange) -> Exchange:
    """A download is not an exchange; this makes one of it. Its block below is entered when the body is read."""

    @contextlib.asynccontextmanager
    async def call(method: bytes, url: str, headers: Mapping[bytes, bytes], body: Any) -> AsyncIterator[Triple]:
        async def content() -> AsyncGenerator[bytes, None]:
            async with contextlib.aclosing(resumed(exchange, url, headers, sleep=no_pause)) as pieces:
                async for piece, _ in pieces:
                    yield piece

        async with contextlib.aclosing(content()) as made:
            yield b'200', {}, made

    return call


CONTRACTS = {
    'retried': ExchangeContract(RETRIED, TRIED_AGAIN),
    'redirected': ExchangeContract(redirected, REDIRECTED),
    'both': ExchangeContract(
        lambda exchange: RETRIED(redirected(exchange)),
        [*TRIED_AGAIN, *REDIRECTED, Case([MOVED, LATER, MOVED, Lost, MOVED, Response()])],
    ),
    'resumed': ExchangeContract(as_exchange, RESUMED, opens_late=True, adds={b'accept-encoding': b'identity'}),
    'all three': ExchangeContract(
        lambda exchange: as_exchange(RETRIED(redirected(exchange))),
        [*RESUMED, Case([Lost, MOVED, BROKEN, MOVED, LATER, MOVED, REST])],
        opens_late=True,
        adds={b'accept-encoding': b'identity'},
    ),
    'both, the other way around': ExchangeContract(
        lambda exchange: redirected(RETRIED(exchange)),
        [*TRIED_AGAIN, *REDIRECTED, Case([LATER, MOVED, Lost, MOVED, LATER, Lost, Response()])],
    ),
}


@pytest.mark.parametrize('check', CHECKS)
@pytest.mark.parametrize('contract', CONTRACTS.values(), ids=CONTRACTS)
async def test_wrapper_keeps_the_contract(contract: ExchangeContract, check: Check) -> None:
    await check(contract)


# Wrappers that change nothing. The first of them keeps the contract, each of the others breaks it.


def unchanged(exchange: Exchange) -> Exchange:
    @contextlib.asynccontextmanager
    async def call(*arguments: Any) -> AsyncIterator[Triple]:
        async with exchange(*arguments) as response:
            yield response

    return call


def loses_the_end(exchange: Exchange) -> Exchange:
    @contextlib.asynccontextmanager
    async def call(*arguments: Any) -> AsyncIterator[Triple]:
        async with exchange(*arguments) as (code, headers, body):

            async def content() -> AsyncGenerator[bytes, None]:
                yield await anext(body)

            yield code, headers, content()

    return call


def changes_the_headers(exchange: Exchange) -> Exchange:
    @contextlib.asynccontextmanager
    async def call(method: bytes, url: str, headers: Any, body: Any) -> AsyncIterator[Triple]:
        headers[b'accept'] = b'text/html'
        async with exchange(method, url, headers, body) as response:
            yield response

    return call


def asks_for_something_else(exchange: Exchange) -> Exchange:
    @contextlib.asynccontextmanager
    async def call(method: bytes, url: str, headers: Any, body: Any) -> AsyncIterator[Triple]:
        async with exchange(method, url + '#', headers, body) as response:
            yield response

    return call


def leaves_early(exchange: Exchange) -> Exchange:
    @contextlib.asynccontextmanager
    async def call(*arguments: Any) -> AsyncIterator[Triple]:
        async with exchange(*arguments) as (code, headers, body):
            pieces = [piece async for piece in body]

        async def content() -> AsyncGenerator[bytes, None]:
            for piece in pieces:
                yield piece

        yield code, headers, content()

    return call


def reads_ahead(exchange: Exchange) -> Exchange:
    @contextlib.asynccontextmanager
    async def call(*arguments: Any) -> AsyncIterator[Triple]:
        async with exchange(*arguments) as (code, headers, body):
            pieces = [piece async for piece in body]

            async def content() -> AsyncGenerator[bytes, None]:
                for piece in pieces:
                    yield piece

            yield code, headers, content()

    return call


def leaves_below_open(exchange: Exchange) -> Exchange:
    @contextlib.asynccontextmanager
    async def call(*arguments: Any) -> AsyncIterator[Triple]:
        manager = exchange(*arguments)
        yield await manager.__aenter__()
        await manager.__aexit__(None, None, None)

    return call


def opens_two(exchange: Exchange) -> Exchange:
    @contextlib.asynccontextmanager
    async def call(*arguments: Any) -> AsyncIterator[Triple]:
        async with exchange(*arguments) as response, exchange(*arguments):
            yield response

    return call


def does_not_tell(exchange: Exchange) -> Exchange:
    @contextlib.asynccontextmanager
    async def call(*arguments: Any) -> AsyncIterator[Triple]:
        raised: BaseException | None = None
        async with exchange(*arguments) as response:
            try:
                yield response
            except BaseException as error:
                raised = error
        if raised is not None:
            try:
                raise raised
            finally:
                del raised

    return call


def replaces_errors(exchange: Exchange) -> Exchange:
    @contextlib.asynccontextmanager
    async def call(*arguments: Any) -> AsyncIterator[Triple]:
        try:
            async with exchange(*arguments) as response:
                yield response
        except Raised:
            raise Raised from None

    return call


def swallows_errors_of_the_end(exchange: Exchange) -> Exchange:
    @contextlib.asynccontextmanager
    async def call(*arguments: Any) -> AsyncIterator[Triple]:
        failed = True
        try:
            async with exchange(*arguments) as response:
                yield response
                failed = False
        except Raised:
            if failed:
                raise

    return call


def tries_everything_again(exchange: Exchange) -> Exchange:
    @contextlib.asynccontextmanager
    async def call(*arguments: Any) -> AsyncIterator[Triple]:
        for last in (False, True):
            entered = False
            try:
                async with exchange(*arguments) as response:
                    entered = True
                    yield response
                    return
            except Raised:
                if entered or last:
                    raise

    return call


def shares_what_it_knows(exchange: Exchange) -> Exchange:
    latest: list[Triple] = []

    @contextlib.asynccontextmanager
    async def call(*arguments: Any) -> AsyncIterator[Triple]:
        async with exchange(*arguments) as response:
            latest.append(response)
            await asyncio.sleep(0)
            yield latest[-1]

    return call


def swallows_cancellation(exchange: Exchange) -> Exchange:
    @contextlib.asynccontextmanager
    async def call(*arguments: Any) -> AsyncIterator[Triple]:
        with contextlib.suppress(asyncio.CancelledError):
            async with exchange(*arguments) as response:
                yield response

    return call


def keeps_the_error(exchange: Exchange) -> Exchange:
    @contextlib.asynccontextmanager
    async def call(*arguments: Any) -> AsyncIterator[Triple]:
        kept = None
        try:
            async with exchange(*arguments) as response:
                yield response
        except Exception as error:
            kept = error
            raise
        assert kept is None

    return call


BAD = {
    'answered': loses_the_end,
    'arguments': asks_for_something_else,
    'arguments, headers': changes_the_headers,
    'open_in_the_block': leaves_early,
    'not_read': reads_ahead,
    'not_read, two': opens_two,
    'error_in_the_block': leaves_below_open,
    'error_in_the_block, silent': does_not_tell,
    'error_on_entering': replaces_errors,
    'error_on_entering, again': tries_everything_again,
    'error_in_the_body': replaces_errors,
    'error_on_leaving': swallows_errors_of_the_end,
    'cancelled': swallows_cancellation,
    'at_once': shares_what_it_knows,
    'no_cycles': keeps_the_error,
}


@pytest.mark.parametrize('check', CHECKS)
async def test_a_wrapper_that_changes_nothing_keeps_the_contract(check: Check) -> None:
    await check(ExchangeContract(unchanged, [PLAIN, PIECES]))


@pytest.mark.parametrize(('name', 'wrap'), BAD.items(), ids=BAD)
async def test_check_finds(name: str, wrap: Any) -> None:
    check: Check = getattr(exchange_conformance, name.partition(',')[0])
    with pytest.raises((AssertionError, pytest.fail.Exception, RuntimeError)):
        await check(ExchangeContract(wrap, [PIECES]))


def test_every_check_finds_something() -> None:
    assert {check.__name__ for check in CHECKS} == {name.partition(',')[0] for name in BAD}
