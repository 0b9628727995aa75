"""All contexts keep the contract of contexts: `ssl`'s own, `NonSSLContext`, and tunnels around them and each other."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from lowhaio_nonssl import NonSSLContext
from lowhaio_tunnel import ConnectContext, Socks5Context
from support.certificates import Authority
from support.context_conformance import CHECKS, CLOCK_CHECKS, Check, ClockCheck, Contract, Origin
from support.loops import ClockLoop
from support.scripted import Server, scripted
from support.tunnels import connect_proxy, socks5_proxy

CREDENTIALS = (b'user', b'secret')
PORT = 443
OUTER, INNER = 'first.test', 'localhost'

Nesting = Callable[[Any], Any]

connect = functools.partial(ConnectContext, port=PORT, credentials=CREDENTIALS)
socks5 = functools.partial(Socks5Context, port=PORT, credentials=CREDENTIALS)
"""To reach the origin."""

NESTINGS: dict[str, tuple[list[str], Nesting]] = {
    'none': ([], lambda inside: inside),
    'CONNECT': (['CONNECT'], connect),
    'SOCKS5': (['SOCKS5'], socks5),
    'SOCKS5 through CONNECT': (
        ['CONNECT', 'SOCKS5'],
        lambda inside: ConnectContext(socks5(inside), 1080, credentials=CREDENTIALS, host='second.test'),
    ),
    'CONNECT through SOCKS5': (
        ['SOCKS5', 'CONNECT'],
        lambda inside: Socks5Context(connect(inside), 1080, credentials=CREDENTIALS, host='second.test'),
    ),
}
"""The proxies on the way, the first one first, and what goes around the context for the origin."""

PROXIES = {'CONNECT': connect_proxy, 'SOCKS5': socks5_proxy}


@contextlib.asynccontextmanager
async def contract_of(nesting: str, authority: Authority, *, encrypted: bool) -> AsyncIterator[Contract]:
    """The servers of a nesting, and the contract."""
    kinds, around = NESTINGS[nesting]
    inside = authority.client() if encrypted else NonSSLContext()
    origin = Origin()
    async with contextlib.AsyncExitStack() as stack:
        server: Server = await stack.enter_async_context(
            scripted(origin, tls=authority.server() if encrypted else None)
        )
        for kind, name in zip(reversed(kinds), (f'localhost:{PORT}', 'second.test:1080'), strict=False):
            script = PROXIES[kind]({name: server.address[0]}, credentials=CREDENTIALS)
            server = await stack.enter_async_context(scripted(script))
        yield Contract(around(inside), server.port, origin, encrypted)


nestings = pytest.mark.parametrize('nesting', NESTINGS)
encryption = pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])


@nestings
@encryption
@pytest.mark.parametrize('check', CHECKS, ids=lambda check: check.__name__)
async def test_context_keeps_the_contract(nesting: str, encrypted: bool, check: Check, authority: Authority) -> None:
    async with contract_of(nesting, authority, encrypted=encrypted) as contract:
        await check(contract)


@nestings
@encryption
@pytest.mark.parametrize('check', CLOCK_CHECKS, ids=lambda check: check.__name__)
async def test_context_keeps_the_contract_in_time(
    nesting: str, encrypted: bool, check: ClockCheck, authority: Authority, clock: ClockLoop
) -> None:
    async with contract_of(nesting, authority, encrypted=encrypted) as contract:
        await check(contract, clock)
