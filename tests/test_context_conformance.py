"""All contexts keep the contract: `ssl`'s own, `NonSSLContext`, tunnels around them and each other, TLS within TLS."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from lowhaio_nonssl import NonSSLContext
from lowhaio_tlsintls import ProxyTLSContext, TLSInTLSContext
from lowhaio_tunnel import ConnectContext, Socks5Context
from support.certificates import Authority
from support.context_conformance import CHECKS, CLOCK_CHECKS, Check, ClockCheck, Contract, Origin
from support.loops import ClockLoop
from support.scripted import Server, scripted
from support.tunnels import connect_proxy, socks5_proxy

CREDENTIALS = (b'user', b'secret')
PORT = 443

Nesting = Callable[[Any, Authority], Any]

connect = functools.partial(ConnectContext, port=PORT, credentials=CREDENTIALS)
proxy_tls = functools.partial(ProxyTLSContext, proxy_hostname='localhost')
socks5 = functools.partial(Socks5Context, port=PORT, credentials=CREDENTIALS)
"""To reach the origin."""

NESTINGS: dict[str, tuple[list[str], Nesting]] = {
    'none': ([], lambda inside, _: inside),
    'CONNECT': (['CONNECT'], lambda inside, _: connect(inside)),
    'SOCKS5': (['SOCKS5'], lambda inside, _: socks5(inside)),
    'SOCKS5 through CONNECT': (
        ['CONNECT', 'SOCKS5'],
        lambda inside, _: ConnectContext(socks5(inside), 1080, credentials=CREDENTIALS, host='second.test'),
    ),
    'CONNECT over TLS': (
        ['CONNECT over TLS'],
        lambda inside, authority: proxy_tls(connect(TLSInTLSContext(inside)), authority.client()),
    ),
    'SOCKS5 over TLS, through CONNECT': (
        ['CONNECT', 'SOCKS5 over TLS'],
        lambda inside, authority: ConnectContext(
            proxy_tls(socks5(TLSInTLSContext(inside)), authority.client()),
            1080,
            credentials=CREDENTIALS,
            host='second.test',
        ),
    ),
    'CONNECT over TLS, through SOCKS5 over TLS': (
        ['SOCKS5 over TLS', 'CONNECT over TLS'],
        lambda inside, authority: proxy_tls(
            Socks5Context(
                proxy_tls(connect(TLSInTLSContext(inside)), TLSInTLSContext(authority.client())),
                1080,
                credentials=CREDENTIALS,
                host='second.test',
            ),
            authority.client(),
        ),
    ),
}
"""The proxies on the way, the first one first, and what goes around the context for the origin."""


@contextlib.asynccontextmanager
async def contract_of(nesting: str, authority: Authority, *, encrypted: bool) -> AsyncIterator[Contract]:
    """The servers of a nesting, and the contract."""
    kinds, around = NESTINGS[nesting]
    within_tls = any('over TLS' in kind for kind in kinds)
    inside = authority.client() if encrypted else None if within_tls else NonSSLContext()
    origin = Origin()
    async with contextlib.AsyncExitStack() as stack:
        server: Server = await stack.enter_async_context(
            scripted(origin, tls=authority.server() if encrypted else None)
        )
        for kind, name in zip(reversed(kinds), (f'localhost:{PORT}', 'second.test:1080'), strict=False):
            proxy = connect_proxy if kind.startswith('CONNECT') else socks5_proxy
            script = proxy({name: server.address[0]}, credentials=CREDENTIALS)
            tls = authority.server() if kind.endswith('over TLS') else None
            server = await stack.enter_async_context(scripted(script, tls=tls))
        yield Contract(around(inside, authority), server.port, origin, encrypted)


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
