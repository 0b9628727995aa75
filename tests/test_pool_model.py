"""The pool against a model of it: hypothesis plays whatever users, servers and the clock may do, in any order.

`PoolModel` does each thing twice, to a pool over real sockets and in a few lists, and compares after every step: who is
inside of a block, with which connection; who waits; and which connections the server sees. The clock stands still but
for the steps that move it, and nothing depends on luck: what fails is printed as a program that fails again.

`pytest --hypothesis-profile=NAME` decides on the number of examples; the default of hypothesis makes it a matter of
seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

import lowhaio
from lowhaio_nonssl import NonSSLContext
from support import leaks
from support.loops import ClockLoop
from support.pools import small_pool

# All times are sums of powers of two, so that floats add up exactly; what happens at the next tick has a time of its
# own, and no connection's idle time ends when somebody's time to wait does.
TICK = 2.0**-10
WAIT_SECONDS = 10
IDLE_SECONDS = 5 + 2.0**-11

SILENT = 2
"""The server that completes no connection; 0 and 1 do."""


@dataclass(eq=False)
class Link:
    """A connection that was opened."""

    key: int
    name: Any
    server: socket.socket
    requests: int = 0
    spoiled: bool = False
    idle_until: float = 0


@dataclass(eq=False)
class User:
    """A task that enters a block, stays in it until it is told how to leave, and leaves."""

    key: int
    deadline: float
    go: asyncio.Future[bool]
    task: asyncio.Task[None] = field(init=False)
    state: Literal['waits', 'connects', 'inside', 'over'] = 'waits'
    link: Link | None = None
    error: type[BaseException] | None = None
    connection: lowhaio.Connection | None = None
    inside: bool = False


class PoolModel(RuleBasedStateMachine):
    """What the pool should do, in lists: `queue`, `idle` (oldest first) and `free` are what it promises to keep."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = ClockLoop()
        self.resources = contextlib.ExitStack()
        self.listeners = [self.resources.enter_context(socket.create_server(('127.0.0.1', 0))) for _ in range(2)]
        silent = self.resources.enter_context(socket.create_server(('127.0.0.1', 0), backlog=0))
        self.resources.enter_context(socket.create_connection(silent.getsockname()))
        self.ports = [listener.getsockname()[1] for listener in (*self.listeners, silent)]
        for listener in self.listeners:
            listener.setblocking(False)
        self.context = NonSSLContext()
        self.accepted: dict[Any, socket.socket] = {}
        self.users: list[User] = []
        self.queue: list[User] = []
        self.idle: list[Link] = []
        self.left = False
        self.exchanges = 0

    @initialize(
        places=st.integers(1, 3),
        requests=st.sampled_from([1, 2, 1000]),
        keys=st.lists(st.sampled_from([0, 1]), max_size=3),
    )
    def begin(self, places: int, requests: int, keys: list[int]) -> None:
        """A pool, and as many idle connections as there are keys and places for them."""
        self.places = self.free = places
        self.requests = requests
        self.pool = small_pool(
            max=places,
            max_requests_per_connection=requests,
            max_idle_seconds=IDLE_SECONDS,
            max_wait_connection_seconds=WAIT_SECONDS,
        )
        self.loop.run_until_complete(self.pool.__aenter__())
        for key in keys[:places]:
            self.acquire(key)
        while self.inside():
            self.release(0, whole=True)

    # What may happen

    @rule(key=st.sampled_from([0, 0, 0, 1, 1, SILENT]))
    def acquire(self, key: int) -> None:
        self.pass_time(TICK)
        user = User(key, self.loop.time() + WAIT_SECONDS, self.loop.create_future())
        user.task = self.loop.create_task(self.block(user))
        self.users.append(user)
        fitting = [link for link in self.idle if link.key == key and not link.spoiled]
        if self.left:
            self.end(user, lowhaio.UnsentLocalProtocolError)
        elif fitting:
            self.idle.remove(fitting[-1])
            self.enter(user, fitting[-1])
        elif self.free:
            self.free -= 1
            self.open(user)
        elif self.idle:
            # A spoiled one goes first: the check before reuse, or the loop, finds out before any is sacrificed.
            spoiled = [link for link in self.idle if link.spoiled and link.key == key]
            self.drop((spoiled or self.idle)[0])
            self.open(user)
        else:
            self.queue.append(user)
        self.compare()

    @precondition(lambda self: self.inside())
    @rule(index=st.integers(0, 9), whole=st.booleans())
    def release(self, index: int, whole: bool) -> None:
        """Leave a block, with a request that was not answered or without one."""
        self.pass_time(TICK)
        user = self.choice(self.inside(), index)
        user.go.set_result(whole)
        self.give_back(user, whole=whole)
        self.compare()

    @precondition(lambda self: self.inside())
    @rule()
    def release_all(self) -> None:
        """Everybody leaves, one after the other, so that many connections are idle."""
        while self.inside():
            self.release(0, whole=True)

    @precondition(lambda self: self.inside() and self.queue)
    @rule(index=st.integers(0, 9), other=st.integers(0, 2), whole=st.booleans(), granted=st.booleans())
    def release_and_cancel(self, index: int, other: int, whole: bool, granted: bool) -> None:
        """Leave a block, and in the same step, before or after the grant, somebody in the queue is cancelled."""
        self.pass_time(TICK)
        if not self.queue or not self.inside():
            return
        user, cancelled = self.choice(self.inside(), index), self.choice(self.queue, other)
        user.go.set_result(whole)
        if granted:
            self.loop.call_soon(cancelled.task.cancel)
            self.give_back(user, whole=whole, cancelled=cancelled)
        else:
            cancelled.task.cancel()
        if cancelled in self.queue:
            self.queue.remove(cancelled)
            self.end(cancelled, asyncio.CancelledError)
        if not granted:
            self.give_back(user, whole=whole)
        self.compare()

    @precondition(lambda self: self.users)
    @rule(index=st.integers(0, 9))
    def cancel(self, index: int) -> None:
        """Wherever it is: in the queue, connecting, or inside of its block."""
        self.pass_time(TICK)
        if not self.users:
            return
        user = self.choice(self.users, index)
        user.task.cancel()
        match user.state:
            case 'waits':
                self.queue.remove(user)
            case 'connects':
                self.grant(None)
            case 'inside':
                self.give_back(user, whole=True)
        self.end(user, asyncio.CancelledError)
        self.compare()

    @precondition(lambda self: self.able())
    @rule(index=st.integers(0, 9))
    def exchange(self, index: int) -> None:
        """A request and its response, which is of no other request."""
        self.pass_time(TICK)
        if not self.able():
            return
        user = self.choice(self.able(), index)
        assert user.link is not None and user.connection is not None
        self.exchanges += 1
        body = b'%d' % self.exchanges
        request = b'GET /%s HTTP/1.1\r\n\r\n' % body
        self.loop.run_until_complete(self.pool.send(user.connection, request))
        assert user.connection.reused is (user.link.requests > 0)
        assert user.link.server.recv(65536) == request
        user.link.server.send(b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s' % (len(body), body))
        assert self.loop.run_until_complete(self.received(user.connection)) == body
        user.link.requests += 1
        self.compare()

    @precondition(lambda self: self.open_links())
    @rule(index=st.integers(0, 9), seen=st.booleans(), how=st.sampled_from(['close', 'byte', 'reset']))
    def spoil(self, index: int, seen: bool, how: str) -> None:
        """The server closes a connection, or sends what it was not asked for; the loop sees it now, or later."""
        if seen:
            self.pass_time(TICK)
        if not self.open_links():
            return
        link = self.choice(self.open_links(), index)
        if how == 'byte':
            link.server.send(b'x')
        elif how == 'reset':
            link.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
        if how != 'byte':
            link.server.close()
            del self.accepted[link.name]
        link.spoiled = True
        if seen:
            self.compare()

    @rule(seconds=st.sampled_from([1, 4, 5, 6, 9, 11]))
    def wait(self, seconds: int) -> None:
        self.pass_time(seconds)
        self.compare()

    @precondition(lambda self: not self.left and self.exchanges + len(self.users) > 2)
    @rule()
    def leave_pool(self) -> None:
        self.pass_time(TICK)
        self.loop.run_until_complete(self.pool.__aexit__(None, None, None))
        self.left = True
        for user in [user for user in self.users if user.state != 'inside']:
            self.end(user, lowhaio.UnsentLocalProtocolError)
        for user in self.inside():
            user.link = None
        self.queue.clear()
        self.idle.clear()
        self.compare()

    def teardown(self) -> None:
        """Everybody leaves; then all places are there, and not one more; then the pool is left, and nothing remains."""
        try:
            self.finish()
        finally:
            for user in self.users:
                user.task.cancel()
            self.loop.run_until_complete(self.loop.idle())
            for server in self.accepted.values():
                server.close()
            self.resources.close()
            self.loop.close()

    def finish(self) -> None:
        if not self.left:
            while self.users:
                self.cancel(0)
            for _ in range(self.places + 1):
                self.acquire(0)
            assert [user.state for user in self.users] == ['inside'] * self.places + ['waits']
            self.leave_pool()
        while self.users:
            self.cancel(0)
        assert self.loop.run_until_complete(leaks.in_loop()) == []

    # The model

    def inside(self) -> list[User]:
        return [user for user in self.users if user.state == 'inside']

    def able(self) -> list[User]:
        """Who can do one more exchange."""
        return [
            user
            for user in self.inside()
            if user.link is not None and not user.link.spoiled and user.link.requests < self.requests
        ]

    def open_links(self) -> list[Link]:
        held = [user.link for user in self.inside() if user.link is not None]
        return [link for link in (*self.idle, *held) if not link.spoiled]

    @staticmethod
    def choice(things: list[Any], index: int) -> Any:
        return things[index % len(things)]

    def enter(self, user: User, link: Link | None) -> None:
        user.state, user.link = 'inside', link

    def open(self, user: User) -> None:
        user.state = 'connects' if user.key == SILENT else 'inside'

    def end(self, user: User, error: type[BaseException] | None) -> None:
        user.state, user.error, user.link = 'over', error, None

    def drop(self, link: Link) -> None:
        if link in self.idle:
            self.idle.remove(link)

    def give_back(self, user: User, *, whole: bool, cancelled: User | None = None) -> None:
        link = user.link
        self.end(user, None)
        if self.left or link is None:
            return
        reusable = whole and not link.spoiled and link.requests < self.requests
        self.grant(link if reusable else None, cancelled)

    def grant(self, link: Link | None, cancelled: User | None = None) -> None:
        """A place comes back, with a connection or without: the first in the queue gets it."""
        while self.queue:
            user = self.queue.pop(0)
            if link is not None and link.key != user.key:
                link = None
            if user is cancelled:
                self.end(user, asyncio.CancelledError)
                continue
            if link is not None:
                self.enter(user, link)
            else:
                self.open(user)
            return
        if link is None:
            self.free += 1
        else:
            link.idle_until = self.loop.time() + IDLE_SECONDS
            self.idle.append(link)

    def pass_time(self, seconds: float) -> None:
        """Go from one event to the next, so that what follows from one has happened before the next."""
        self.settle()
        until = self.loop.time() + seconds
        while True:
            waiting = [user for user in self.users if user.state in ('waits', 'connects')]
            times = [*(user.deadline for user in waiting), *(link.idle_until for link in self.idle)]
            event = min(times, default=inf)
            if event > until:
                break
            self.loop.advance(event - self.loop.time())
            self.settle()
            for user in [user for user in waiting if user.deadline == event]:
                if user.state == 'waits':
                    self.queue.remove(user)
                    self.end(user, lowhaio.PoolTimeoutError)
                else:
                    self.end(user, lowhaio.ConnectTimeoutError)
                    self.grant(None)
            for link in [link for link in self.idle if link.idle_until == event]:
                self.drop(link)
                self.grant(None)
            self.compare()
        self.loop.advance(until - self.loop.time())
        self.compare()

    # The pool

    async def block(self, user: User) -> None:
        async with self.pool.connection('127.0.0.1', self.ports[user.key], self.context) as connection:
            user.connection = connection
            user.inside = True
            try:
                if not await user.go:
                    with contextlib.suppress(lowhaio.LowhaioError):
                        await self.pool.send(connection, b'GET / HTTP/1.1\r\n\r\n')
            finally:
                user.inside = False

    async def received(self, connection: lowhaio.Connection) -> bytes:
        _, cursor = await self.pool.recv_status_line(connection)
        async for _, _, cursor in self.pool.recv_headers(connection, cursor):
            pass
        return b''.join([data async for data in self.pool.recv_body(connection, cursor)])

    def settle(self) -> None:
        """Let the pool do all that it can do now; then an idle connection that was spoiled is one no more."""
        self.loop.run_until_complete(self.loop.idle())
        for listener in self.listeners:
            with contextlib.suppress(BlockingIOError):
                while True:
                    server, name = listener.accept()
                    server.setblocking(False)
                    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self.accepted[name] = server
        for link in [link for link in self.idle if link.spoiled]:
            self.drop(link)
            self.grant(None)

    def compare(self) -> None:
        self.settle()
        for user in self.users:
            assert user.task.done() is (user.state == 'over')
            assert user.inside is (user.state == 'inside')
            if user.state == 'over':
                error = asyncio.CancelledError() if user.task.cancelled() else user.task.exception()
                assert type(error) is (user.error or type(None))
            elif user.state == 'inside' and not self.left:
                assert user.connection is not None
                name = user.connection.socket.getsockname()
                if user.link is None:
                    assert name not in [link.name for link in self.links()], 'a connection that is given to two'
                    user.link = Link(user.key, name, self.accepted[name])
                assert user.link.name == name
        self.users = [user for user in self.users if user.state != 'over']
        self.compare_with_servers()

    def links(self) -> list[Link]:
        return [*self.idle, *(user.link for user in self.users if user.link is not None)]

    def compare_with_servers(self) -> None:
        """The connections that the servers see are those in use and those that are idle."""
        for name, server in list(self.accepted.items()):
            if _closed(server):
                server.close()
                del self.accepted[name]
        links = self.links()
        assert set(self.accepted) == {link.name for link in links if link.name in self.accepted or not link.spoiled}
        opening = [user for user in self.users if user.state == 'connects']
        assert self.left or len(links) + len(opening) + self.free == self.places


def _closed(server: socket.socket) -> bool:
    """Whether the client has closed it. What it has sent before is read and forgotten."""
    try:
        while server.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def test_pool_behaves_like_its_model() -> None:
    chosen = settings(stateful_step_count=40, deadline=None, derandomize='CI' in os.environ)
    run_state_machine_as_test(PoolModel, settings=chosen)
