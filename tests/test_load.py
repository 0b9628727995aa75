"""Many tasks, many connections, many requests, and a server that goes away: for some seconds; `make soak` for longer.

What is looked at, `support.load` says.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import load, moody, programs, real
from support.certificates import Files

KINDS = frozenset(
    {'received', 'cancelled', 'timed out', 'SentClosedError', 'SentRemoteProtocolError', 'SentTimeoutError'}
)


@pytest.fixture
def server(certificate_files: Files, tmp_path: Path) -> Iterator[real.RealServer]:
    """A server for thousands of connections: nginx, or where it is not installed, which it is in CI, granian."""
    load.allow_descriptors(8000)
    with (real.nginx if programs.path_of('nginx') else real.granian)(certificate_files, tmp_path) as server:
        yield server


async def test_storm(certificate_files: Files, client_tls: ssl.SSLContext) -> None:
    """200 tasks, cancelled and timed out at random: every kind of end is met, and the pool is whole afterwards."""
    with moody.serving(certificate_files) as ports:
        tally = await load.storm(1, ports, client_tls, seed=1, wanted=KINDS)
    assert set(tally.outcomes) >= KINDS, tally


async def test_two_thousand_connections_at_once(server: real.RealServer) -> None:
    """All of them in use, then all idle, then all in use again."""
    await load.crowd(server.http_port, 2000)


async def test_many_requests(server: real.RealServer) -> None:
    """Memory stays flat, and the descriptors are those of the idle connections."""
    usages = await load.stream(server.http_port, 5000)
    assert len(usages) == 10


async def test_server_restarted(certificate_files: Files, tmp_path: Path) -> None:
    """Nothing is lost but the requests in flight, and those say whether they may be sent again."""
    with real.nginx(certificate_files, tmp_path) as nginx:
        tally = await load.restarts(nginx, tmp_path, 3000, 3)
    assert tally.requests > 3000, 'no request was in flight'
