"""The transports for httpx2 and for httpx 0.28, which are one thing handed two libraries: each test runs with both.

@every_bridge
async def test_it(bridge: Bridge) -> None:
    async with answering(pieces) as server, bridge.client() as client:
        response = await client.get(f'{server.url}/')
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import httpcore
import httpcore2
import httpx
import httpx2
import pytest

import lowhaio_httpx
import lowhaio_httpx2

from .scripted import Peer, Script


@dataclass(frozen=True)
class Bridge:
    """A library, the exceptions of its `network_stream`, and its transport on lowhaio."""

    library: Any
    httpcore: Any
    transport: Any

    def client(self, timeout: float | None = 15, **options: Any) -> Any:
        """A client on lowhaio. The options are those of the transport; certificates are checked if they say so."""
        return self.library.AsyncClient(transport=self.transport(**{'verify': False} | options), timeout=timeout)


BRIDGES = {
    'httpx2': Bridge(httpx2, httpcore2, lowhaio_httpx2.AsyncLowhaioTransport),
    'httpx': Bridge(httpx, httpcore, lowhaio_httpx.AsyncLowhaioTransport),
}

every_bridge = pytest.mark.parametrize('bridge', BRIDGES.values(), ids=BRIDGES)


def answering(*responses: bytes) -> Script:
    """A script that answers every request that is only a head, with one response after the other, the last for all."""

    def serve(peer: Peer) -> None:
        for number, _ in enumerate(peer.heads()):
            peer.send(responses[min(number, len(responses) - 1)])

    return serve


def with_length(body: bytes = b'hello', head: bytes = b'') -> bytes:
    """A response whose length is announced."""
    return b'HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b' % (head, len(body), body)


async def in_pieces(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """A body to send, piece by piece."""
    for piece in pieces:
        yield piece
