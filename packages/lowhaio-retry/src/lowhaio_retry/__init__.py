"""Tries an exchange again where that does no harm.

`retried(exchange)` takes an exchange and returns one:

    call = retried(exchange)
    async with call(b'GET', 'https://example.com/', {}, None) as (code, headers, body):
        ...

The attributes of an error say what may be sent again: `bytes_sent`, `bytes_received`, `reused` and `caller_erred`,
which the errors of lowhaio have, and `redirects`, if the exchange follows redirects.

It has no errors of its own: you get what the last attempt raised or answered. Settings that make no sense raise
`TypeError` or `ValueError`.
"""

import asyncio
import random as _random
import re
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from email.utils import mktime_tz, parsedate_tz
from typing import Any

__all__ = ['IDEMPOTENT', 'retried']

IDEMPOTENT = frozenset({b'GET', b'HEAD', b'OPTIONS', b'TRACE', b'PUT', b'DELETE'})
"""The methods of RFC 9110 that do the same done twice as done once (section 9.2.2)."""

# 429 (RFC 6585 section 4) and 503 (RFC 9110 section 15.6.4) say that the request was not done, and may say when to try.
_LATER = (b'429', b'503')

# Attempts in a row on kept connections that turn out to be closed. Each uses one up, so there is an end to them, unless
# other tasks keep new ones all the time.
_STALE_ATTEMPTS = 100

# What is read of a response that is not handed out, so that its connection can be used again. More would cost more than
# a new connection.
_DRAINED_BYTES = 65536

_DELAY = re.compile(rb'[0-9]+')

_Response = tuple[bytes, dict[bytes, bytes], AsyncGenerator[bytes, Any]]
_Exchange = Callable[[bytes, str, Mapping[bytes, bytes], Any], AbstractAsyncContextManager[_Response]]


def retried(
    exchange: _Exchange,
    *,
    attempts: int = 3,
    pause_seconds: float = 0.5,
    max_pause_seconds: float = 20,
    max_retry_after_seconds: float = 60,
    methods: Collection[bytes] = IDEMPOTENT,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    random: Callable[[], float] = _random.random,
    now: Callable[[], float] = time.time,
) -> _Exchange:
    """Return an exchange that makes up to `attempts` attempts with `exchange`.

    Tried again is what failed before there was a response:

    - any request of which no byte was sent, unless it was redirected before that;
    - requests with one of `methods`, whatever was sent: "A client SHOULD NOT automatically retry a request with a
      non-idempotent method unless it has some means to know that the request semantics are actually idempotent"
      (RFC 9110 section 9.2.2). Add `b'POST'` where your server takes care of that;
    - a name that cannot be resolved for now (`socket.EAI_AGAIN`);
    - with one of `methods`, what was answered by 429 or 503.

    Not tried again are the caller's mistakes, errors that do not say what was sent, and whatever happens inside of the
    block: a body that breaks off has been handed out in part. A body that is a generator can be made only once: the
    error then has a note that says so.

    Before each attempt is a pause of up to `pause_seconds`, then up to twice as many, and so on up to
    `max_pause_seconds`; chance decides how many, so that many clients do not come back at once. `Retry-After` is waited
    for in addition. Where it is more than `max_retry_after_seconds`, the response is handed out at once.

    There is no pause, and no attempt is counted, after a connection that was kept turns out to be closed: reused, and
    not a byte received. Most likely the server closed it while it was idle, which says nothing about its health.

    `sleep`, `random` (from 0 up to 1) and `now` (seconds since 1970) are there for tests and for other clocks.

    A block of `exchange` is left before the pause. Cancelled, in the pause too, nothing is left behind.
    """
    if isinstance(attempts, bool) or not isinstance(attempts, int):
        raise TypeError(f'attempts must be an int, not {attempts!r}')
    if attempts < 1:
        raise ValueError(f'attempts must be at least 1, not {attempts}')
    for seconds in (pause_seconds, max_pause_seconds, max_retry_after_seconds):
        if not 0 <= seconds < float('inf'):
            raise ValueError(f'a pause must be a finite number of seconds from 0, not {seconds}')

    @asynccontextmanager
    async def call(method: bytes, url: str, headers: Mapping[bytes, bytes], body: Any) -> AsyncIterator[_Response]:
        idempotent = method in methods
        once = hasattr(body, '__aiter__')
        failed = stale = 0
        longest = min(pause_seconds, max_pause_seconds)
        while True:
            handed_out = False
            pause: float | None = 0.0
            try:
                async with exchange(method, url, headers, body) as (code, received, content):
                    pause = _seconds_of(received.get(b'retry-after', b''), now)
                    again = code in _LATER and idempotent and not once and failed + 1 < attempts
                    if not again or pause > max_retry_after_seconds:
                        handed_out = True
                        yield code, received, content
                        return
                    await _drain(content)
                failed += 1
            except Exception as error:
                if handed_out or not _may_be_sent_again(error, idempotent=idempotent):
                    raise
                if _is_stale(error) and stale < _STALE_ATTEMPTS:
                    stale += 1
                    pause = None
                else:
                    failed += 1
                if failed >= attempts:
                    raise
                if once:
                    error.add_note('not tried again, as the body is a generator: hand in a function that makes one')
                    raise
            if pause is not None:
                await sleep(pause + random() * longest)
                longest = min(2 * longest, max_pause_seconds)

    return call


def _may_be_sent_again(error: Exception, *, idempotent: bool) -> bool:
    # After a redirect an error tells of the last step alone. Those before it were sent, and may have been acted on.
    if getattr(error, 'redirects', 0) and not idempotent:
        return False
    sent = getattr(error, 'bytes_sent', None)
    if sent is None:
        return isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
    return (not sent or idempotent) and not getattr(error, 'caller_erred', False)


def _is_stale(error: Exception) -> bool:
    """Whether this is a kept connection that the server had closed. Waiting in vain is not a sign of that."""
    reused, received = getattr(error, 'reused', False), getattr(error, 'bytes_received', 0)
    return reused and not received and not isinstance(error, TimeoutError)


def _seconds_of(retry_after: bytes, now: Callable[[], float]) -> float:
    """The seconds to wait; 0 where there is no Retry-After, or one that can't be read (RFC 9110 section 10.2.3)."""
    if _DELAY.fullmatch(retry_after):
        return float(retry_after)
    # "A recipient that parses a timestamp value in an HTTP field MUST accept all three HTTP-date formats" (RFC 9110
    # section 5.6.7).
    try:
        date = parsedate_tz(retry_after.decode('ascii'))
        return max(0.0, mktime_tz(date) - now()) if date else 0.0
    except (ValueError, OverflowError):
        return 0.0


async def _drain(content: AsyncGenerator[bytes, Any]) -> None:
    size = 0
    async for piece in content:
        size += len(piece)
        if size > _DRAINED_BYTES:
            return
