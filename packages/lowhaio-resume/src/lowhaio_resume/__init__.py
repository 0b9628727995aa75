"""A download that goes on where it broke off (RFC 9110 section 14).

`resumed(exchange, url)` takes an exchange, and yields the pieces of a body, each with the position after it:

    async for piece, position in resumed(exchange, 'https://example.com/large', {}):
        file.write(piece)
        print(position.offset, 'of', position.total)

A `Position` is enough to go on with later, in another process too.

What is raised here:

    ResumeError
    ├── StatusError     the server answers with something else than the content
    ├── ChangedError    what the server has now is not what the download began with
    └── RangeError      the server answers with another part than it was asked for

A position from which the download can't go on, and settings that make no sense, raise `TypeError` or `ValueError`. What
`exchange` raises comes out unchanged.
"""

import asyncio
import random as _random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from email.utils import mktime_tz, parsedate_tz
from typing import Any, NamedTuple

__all__ = ['ChangedError', 'Position', 'RangeError', 'ResumeError', 'StatusError', 'resumed']

# RFC 9110 section 14.4, for bytes. 19 digits are as much as a Content-Length may have in lowhaio.
_CONTENT_RANGE = re.compile(rb'bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)', re.IGNORECASE)
_UNSATISFIED = re.compile(rb'bytes \*/([0-9]{1,19})', re.IGNORECASE)
_LENGTH = re.compile(rb'[0-9]{1,19}')

# RFC 9110 section 8.8.3: an entity tag that does not begin with W/ is strong.
_STRONG_TAG = re.compile(rb'"[!#-~\x80-\xff]*"')

_Exchange = Callable[
    [bytes, str, Mapping[bytes, bytes], Any],
    AbstractAsyncContextManager[tuple[bytes, dict[bytes, bytes], AsyncGenerator[bytes, Any]]],
]


class ResumeError(Exception):
    """The download cannot go on."""


class StatusError(ResumeError):
    """The server answers with something else than the content.

    Attributes:
        code: The status code, as `b'404'`.

    """

    def __init__(self, message: str, code: bytes) -> None:
        super().__init__(message)
        self.code = code


class ChangedError(ResumeError):
    """What the server has now is not what the download began with. Begin anew, or keep what you have."""


class RangeError(ResumeError):
    """The server answers with another part than it was asked for, or with more or less than it says."""


class Position(NamedTuple):
    """How far a download is. You can save its attributes, and make a `Position` of them again.

    Attributes:
        offset: Bytes that have been yielded.
        total: Bytes in all, `None` where the server does not say.
        validator: What tells whether the server still has the same: its `ETag`, or its `Last-Modified`. `None` where it
            has given neither that is strong: then the download cannot go on after it broke off.

    """

    offset: int = 0
    total: int | None = None
    validator: bytes | None = None


def resumed(
    exchange: _Exchange,
    url: str,
    headers: Mapping[bytes, bytes],
    *,
    position: Position = Position(),  # noqa: B008  it cannot be changed
    attempts: int = 5,
    pause_seconds: float = 1,
    max_pause_seconds: float = 60,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    random: Callable[[], float] = _random.random,
) -> AsyncGenerator[tuple[bytes, Position], None]:
    """Yield the content of `url` from `position` on, piece by piece, each with the position after it.

    A body breaks off where reading it raises an error that says that it was not the caller's: its attribute
    `caller_erred` is false, as it is for lost connections and timeouts of lowhaio. Then the rest is requested with
    `Range` and `If-Range`, after a random pause of up to `pause_seconds`. If the next body breaks off without a byte,
    the pause is up to twice as long, and so on up to `max_pause_seconds`; after `attempts` of them in a row the error
    is raised. It is raised at once, with a note, if nothing that the server sent tells whether the content is still the
    same.

    What fails before there is a response is raised: `lowhaio_retry.retried(exchange)` is for that.

    `headers` go with each request. `accept-encoding: identity` is added, as positions are those in what is sent; with
    an `accept-encoding` of yours, the pieces are what is sent, and to be decoded behind this.

    Raises at once `TypeError` or `ValueError` for settings that make no sense, for a `position` after the beginning
    that has no validator, and for `range` or `if-range` in `headers`. Later raises `ChangedError` where the server has
    something else now: it sends all of it instead of a part, or names another total size or another validator. Raises
    `RangeError`, and `StatusError` for what is neither 200 nor 206.

    However it ends, by cancellation too, the block of `exchange` is left. Close it (`contextlib.aclosing`) if you leave
    it early.
    """
    if b'range' in headers or b'if-range' in headers:
        raise ValueError('range and if-range are added where they are needed: leave them out')
    if not 0 <= position.offset <= (position.offset if position.total is None else position.total):
        raise ValueError(f'not a position: {position}')
    if position.offset and position.validator is None:
        raise ValueError('a download without a validator can only be begun anew')
    if isinstance(attempts, bool) or not isinstance(attempts, int):
        raise TypeError(f'attempts must be an int, not {attempts!r}')
    if attempts < 1:
        raise ValueError(f'attempts must be at least 1, not {attempts}')
    for seconds in (pause_seconds, max_pause_seconds):
        if not 0 <= seconds < float('inf'):
            raise ValueError(f'a pause must be a finite number of seconds from 0, not {seconds}')

    async def generate(position: Position) -> AsyncGenerator[tuple[bytes, Position], None]:
        asked = {b'accept-encoding': b'identity', **headers}
        failed = 0
        longest = pause_seconds
        while position.total is None or position.offset < position.total:
            begun = position.offset
            if begun and position.validator is not None:
                asked |= {b'range': b'bytes=%d-' % begun, b'if-range': position.validator}
            async with exchange(b'GET', url, asked, None) as (code, received, content):
                if code == b'416' and _is_all(position, received):
                    return
                position, end = _checked(url, position, code, received)
                try:
                    async for piece in content:
                        position = position._replace(offset=position.offset + len(piece))
                        if end is not None and position.offset > end:
                            break
                        yield piece, position
                except Exception as error:
                    if getattr(error, 'caller_erred', True):
                        raise
                    if position.offset and position.validator is None:
                        error.add_note('cannot go on: the server gave no ETag and no Last-Modified that is strong')
                        raise
                    if position.offset > begun:
                        failed, longest = 0, pause_seconds
                    else:
                        failed += 1
                    if failed >= attempts:
                        raise
                else:
                    if end is not None and position.offset != end:
                        raise RangeError(f'{url}: a body that should end at {end} is at {position.offset}')
                    if position.total is None:
                        return
                    continue
            await sleep(random() * min(longest, max_pause_seconds))
            longest = min(2 * longest, max_pause_seconds)

    return generate(position)


def _is_all(position: Position, received: Mapping[bytes, bytes]) -> bool:
    """Whether 416 says that there is nothing after the position, which was all that was asked for.

    With another representation the range would have been ignored (RFC 9110 section 13.1.5), so this one ends here.
    """
    match = _UNSATISFIED.fullmatch(received.get(b'content-range', b''))
    return position.total is None and match is not None and int(match[1]) == position.offset > 0


def _checked(url: str, position: Position, code: bytes, received: Mapping[bytes, bytes]) -> tuple[Position, int | None]:
    """The position with what the response says, and the offset at which its body ends."""
    offset, total, validator = position
    if code == b'200' and not offset:
        length = received.get(b'content-length', b'')
        known = _LENGTH.fullmatch(length) and b'transfer-encoding' not in received
        total = int(length) if known else None
        return Position(0, total, _validator(received)), total
    if code == b'200' and _validator(received) == validator:
        raise RangeError(f'{url}: asked to go on from {offset}, the server sends the same from the beginning')
    if code == b'200' or (code == b'416' and offset):
        raise ChangedError(f'{url}: asked to go on from {offset}, the server has something else: {code.decode()}')
    if code != b'206':
        raise StatusError(f'{url}: status {code.decode()} instead of the content from {offset}', code)
    said = received.get(b'content-range', b'')
    match = _CONTENT_RANGE.fullmatch(said)
    if not match or not offset or int(match[1]) != offset or int(match[2]) < offset:
        raise RangeError(f'{url}: asked for the content from {offset}, got {said!r}')
    end = int(match[2]) + 1
    if match[3] != b'*':
        if total is not None and int(match[3]) != total:
            raise ChangedError(f'{url}: {total} bytes have become {int(match[3])}')
        total = int(match[3])
    if total is not None and end > total:
        raise RangeError(f'{url}: a part up to {end} of {total} bytes')
    # Parts may be combined if "they all share the same strong validator" (RFC 9110 section 15.3.7.3).
    name = b'etag' if validator and validator.startswith(b'"') else b'last-modified'
    if received.get(name, validator) != validator:
        raise ChangedError(f'{url}: {name.decode()} {validator!r} has become {received[name]!r}')
    return Position(offset, total, validator), end


def _validator(received: Mapping[bytes, bytes]) -> bytes | None:
    """What may be sent as If-Range.

    "A client MUST NOT generate an If-Range header field containing an entity tag that is marked as weak. A client MUST
    NOT generate an If-Range header field containing an HTTP-date unless" it "has no entity tag" and "the date is a
    strong validator" (RFC 9110 section 13.1.5).
    """
    tag = received.get(b'etag')
    if tag is not None:
        return tag if _STRONG_TAG.fullmatch(tag) else None
    # Strong where the response's Date "is at least one second after the Last-Modified value": what changes twice in a
    # second has the same date (section 8.8.2.2).
    modified = received.get(b'last-modified')
    at, date = _seconds(modified), _seconds(received.get(b'date'))
    return modified if at is not None and date is not None and date - at >= 1 else None


def _seconds(date: bytes | None) -> float | None:
    try:
        parsed = parsedate_tz((date or b'').decode('ascii'))
        return None if parsed is None else mktime_tz(parsed)
    except (ValueError, OverflowError):
        return None
