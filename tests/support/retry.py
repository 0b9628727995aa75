"""The rule for trying a request again, in ten lines.

The errors say what is needed. An `UnsentError` says that no byte of the request was sent, so the server can't have
acted on it, and any request may be sent again. After that only an idempotent one may (RFC 9110 section 9.2.2): that
nothing was received does not prove that nothing was done. A kept connection that is lost before anything was received
is most likely one that the server had closed. It tells nothing about the server's health, so it is not
counted. That can't go on for ever: each such attempt uses up one of the connections that were kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import lowhaio

T = TypeVar('T')


async def retried(exchange: Callable[[], Awaitable[T]], *, idempotent: bool, attempts: int = 3) -> T:
    """What `exchange()` returns; it enters a `pool.connection` block, and does one request in it."""
    while True:
        try:
            return await exchange()
        except lowhaio.LowhaioError as error:
            stale = isinstance(error, lowhaio.ClosedError) and error.reused and not error.bytes_received
            attempts -= not stale
            may_be_done_twice = idempotent or isinstance(error, lowhaio.UnsentError)
            if isinstance(error, lowhaio.LocalProtocolError) or not may_be_done_twice or not attempts:
                raise
