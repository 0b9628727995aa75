"""Descriptors are unregistered before they are closed, on every path."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any, ClassVar

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLSocket
from support.certificates import HOST
from support.loops import ClockLoop
from support.pools import (
    REQUEST,
    Wrapping,
    small_pool,
    turns,
)
from support.puppets import puppets
from support.scripted import Peer


class Watched(NonSSLSocket):
    """A socket that notes at its close whether the loop still watches its descriptor."""

    closed_while_watched: ClassVar[list[bool]]
    shaking: ClassVar[bool]
    """Whether its handshake waits for the server for ever."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.loop: Any = asyncio.get_running_loop()

    def do_handshake(self) -> None:
        if self.shaking:
            raise ssl.SSLWantReadError

    def unwrap(self) -> socket.socket:
        return self

    def close(self) -> None:
        if self.fileno() >= 0:
            type(self).closed_while_watched.append(self.fileno() in self.loop.watched())
        super().close()


WAYS = ('receive', 'send', 'idle', 'handshake')
ENDS = ('cancelled', 'timed out', 'server closes', 'pool left')


@pytest.mark.parametrize('end', ENDS)
@pytest.mark.parametrize('way', WAYS)
async def test_10_descriptors_are_unregistered_before_they_are_closed(way: str, end: str, clock: ClockLoop) -> None:
    class Socket(Watched):
        closed_while_watched: ClassVar[list[bool]] = []
        shaking = way == 'handshake'

    async with puppets() as server:
        pool = await small_pool(max=1).__aenter__()
        started = asyncio.Event()

        async def wait() -> None:
            async with pool.connection(server.address, server.port, Wrapping(Socket)) as connection:
                if way == 'idle':
                    return
                await pool.send(connection, REQUEST)
                started.set()
                if way == 'send':
                    await pool.send(connection, bytes(2**25))
                else:
                    await pool.recv_status_line(connection)

        task = asyncio.create_task(wait())
        await server.do(0, Peer.let_the_client_read)
        await clock.idle()
        assert len(clock.watched()) == 1
        if end == 'cancelled':
            task.cancel()
        elif end == 'timed out':
            clock.advance(30)
        elif end == 'server closes' and way != 'handshake':
            await server.do(0, Peer.reset)
        else:
            await pool.__aexit__(None, None, None)
        await clock.idle()
        await asyncio.gather(task, return_exceptions=True)
        await pool.__aexit__(None, None, None)
        assert Socket.closed_while_watched == [False]
        assert clock.watched() == {}


def still_watched() -> object:
    loop: Any = asyncio.get_running_loop()
    return loop.watched()


async def test_10_reset_before_the_handshake_leaves_no_descriptor(client_tls: ssl.SSLContext) -> None:
    """At any turn of the loop, and though the program keeps the error."""
    kept: list[BaseException | None] = []
    async with puppets() as server, small_pool() as pool:
        for number in range(8):
            entering = pool.connection(server.address, server.port, client_tls, server_hostname=HOST)
            connecting = asyncio.create_task(entering.__aenter__())
            await turns(1 + number // 2)
            server.now(number, Peer.reset)
            await asyncio.wait([connecting])
            kept.append(connecting.exception())
            assert still_watched() == {}
    assert all(isinstance(error, lowhaio.UnsentError) for error in kept)
