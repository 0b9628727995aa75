"""Exchanges for tests: the call of `lowhaio_request` on a pool, and exchanges that a test writes as a list of answers.

    async with scripted(script) as server, small_pool() as pool:
        call = request(pool)
        async with call(b'GET', f'http://127.0.0.1:{server.port}/', {}, None) as (code, headers, body):
            ...

`Answers([...])` needs no server. Each call of `answers.exchange` gets the next of its answers: a `Response`, or an
exception, which is raised on entering, or a class of one. `answers.calls` holds what the calls were made with.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import lowhaio
import lowhaio_chunked
import lowhaio_dict
import lowhaio_request
from lowhaio_nonssl import NonSSLContext

Triple = tuple[bytes, dict[bytes, bytes], AsyncGenerator[bytes, Any]]
Exchange = Callable[[bytes, str, Mapping[bytes, bytes], Any], AbstractAsyncContextManager[Triple]]

PLAIN = NonSSLContext()  # one for all, as the context is part of what a connection is reused by


def request(pool: lowhaio.Pool, **changes: Any) -> Exchange:
    """The call of `lowhaio_request`, for `http://` as well."""
    settings: dict[str, Any] = {
        'https': None,
        'http': PLAIN,
        'collect': lowhaio_dict.collect,
        'serialize': lowhaio_dict.serialize,
        'encode': lowhaio_chunked.encode,
        'decode': lowhaio_chunked.decode,
    }
    return lowhaio_request.exchange(pool, **settings | changes)


@dataclass(frozen=True)
class Whole:
    """A response, read to its end."""

    code: bytes
    headers: dict[bytes, bytes]
    content: bytes


async def whole(
    exchange: Exchange, method: bytes, url: str, headers: Mapping[bytes, bytes] | None = None, body: Any = None
) -> Whole:
    """Do one exchange, and read its content to the end."""
    async with exchange(method, url, headers or {}, body) as (code, received, content):
        return Whole(code, received, b''.join([piece async for piece in content]))


@dataclass(frozen=True)
class Response:
    """What an exchange below answers: `content` in pieces, and then `error`, if there is one."""

    code: bytes = b'200'
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    content: Sequence[bytes] = (b'hello',)
    error: Exception | type[Exception] | None = None


Answer = Response | Exception | type[Exception]


class Answers:
    """An exchange that suspends at every step, and keeps a record of what is done to it."""

    def __init__(self, answers: Iterable[Answer], *, leaving: Exception | None = None) -> None:
        self.calls: list[tuple[bytes, str, dict[bytes, bytes], Any]] = []
        """The arguments of every call."""
        self.open = 0
        """How many blocks are entered and not left."""
        self.most_open = 0
        self.read: list[int] = []
        """How many pieces of each response were taken."""
        self.left_by: list[type[BaseException] | None] = []
        """With what every block was left."""
        self.at_the_end: Callable[[], object] | None = None
        """Called when a block is left."""
        self._answers = list(answers)
        self._leaving = leaving

    @asynccontextmanager
    async def exchange(
        self, method: bytes, url: str, headers: Mapping[bytes, bytes], body: Any
    ) -> AsyncIterator[Triple]:
        number = len(self.calls)
        self.calls.append((method, url, dict(headers), body))
        self.read.append(0)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        left_by: type[BaseException] | None = None
        try:
            await asyncio.sleep(0)
            answer = self._answers[min(number, len(self._answers) - 1)]
            if not isinstance(answer, Response):
                raise answer  # noqa: TRY301  what is recorded below is how this block was left
            async with aclosing(self._content(number, answer)) as content:
                yield answer.code, dict(answer.headers), content
            if self._leaving is not None and number == len(self._answers) - 1:
                raise self._leaving  # noqa: TRY301  as above
        except BaseException as error:
            left_by = type(error)
            raise
        finally:
            self.open -= 1
            self.left_by.append(left_by)
            if self.at_the_end is not None:
                self.at_the_end()
            await asyncio.sleep(0)

    async def _content(self, number: int, answer: Response) -> AsyncGenerator[bytes, None]:
        for piece in answer.content:
            await asyncio.sleep(0)
            self.read[number] += 1
            yield piece
        if answer.error is not None:
            raise answer.error
