"""Server-sent events (WHATWG HTML section 9.2): a body of bytes to events.

`events(body)` takes an async generator of bytes and returns an `EventStream`. That yields an `Event` for each event
that has arrived complete, and keeps what you need to connect again: the last id, and how long to wait.

What is raised here:

    EventStreamError
    └── LimitError    an event of more than `max_bytes`

A limit or a time that makes no sense is the caller's mistake: `ValueError`.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable
from typing import Any, NamedTuple

__all__ = ['Event', 'EventStream', 'EventStreamError', 'LimitError', 'events']

_BYTE_ORDER_MARK = b'\xef\xbb\xbf'

# 15 digits of milliseconds are 30,000 years. Python refuses to make a number of more than 4,300.
_RETRY_DIGITS_MAX = 15


class EventStreamError(Exception):
    """The stream can't be taken apart into events."""


class LimitError(EventStreamError):
    """An event of more than `max_bytes`."""


class Event(NamedTuple):
    """One event.

    Attributes:
        type: What the server called it, `message` if it did not.
        data: Its data, with a line feed between the lines.
        last_id: The id said last, in this event or before it; empty if there was none.

    """

    type: str
    data: str
    last_id: str


class EventStream(AsyncIterator[Event]):
    """The events of one body, as `events` makes it. It is an async iterator, and `aclose()` closes the body.

    A stream that was never started leaves the body as it was.
    """

    def __init__(self, events: AsyncGenerator[Event, None], buffers: '_Buffers') -> None:
        self._events = events
        self._buffers = buffers

    @property
    def last_id(self) -> str:
        """The id said last before an empty line, in an event without data too.

        If it is not empty, send it as `last-event-id`, encoded as UTF-8, when you connect again. It holds no NUL, CR or
        LF. The id of an event that was cut off does not count, so the server sends that event again.
        """
        return self._buffers.last_id

    @property
    def retry(self) -> int | None:
        """Milliseconds to wait before you connect again, if the server has said."""
        return self._buffers.retry

    def __anext__(self) -> Awaitable[Event]:
        """Return the next event, as soon as the empty line after it has arrived."""
        return self._events.__anext__()

    async def aclose(self) -> None:
        """Close the body, if it was started."""
        await self._events.aclose()


def events(
    body: AsyncIterable[bytes], *, last_id: str = '', retry: int | None = None, max_bytes: int = 1_000_000
) -> EventStream:
    """Return the events of `body` (section 9.2.6), each of which comes as soon as the empty line after it has arrived.

    - `last_id`, `retry`: those of the stream before, when you connect again. `retry` is in milliseconds.
    - `max_bytes`: the most bytes between two empty lines, comments and names of fields included.

    An event that is cut off by the end of `body` is dropped, as the section says. Bytes that are not UTF-8 become
    U+FFFD.

    Raises at once `ValueError` for a `retry` below 0 or a `max_bytes` below 1, `body` being left as it was; later
    `LimitError`, and whatever `body` raises. However it ends, by cancellation too, `body` is closed, if it can be:
    generators can, other async iterators need not. Cancelled, the event under way is lost: connect again with
    `last_id`.
    """
    if max_bytes < 1:
        raise ValueError(f'max_bytes must be at least 1, not {max_bytes}')
    if retry is not None and retry < 0:
        raise ValueError(f'retry must be at least 0, not {retry}')
    buffers = _Buffers(last_id, retry)
    return EventStream(_events(body, buffers, max_bytes), buffers)


async def _events(body: AsyncIterable[bytes], buffers: '_Buffers', max_bytes: int) -> AsyncGenerator[Event, None]:
    line = bytearray()
    size = 0
    at_start, after_cr = True, False
    try:
        async for piece in body:
            if not piece:
                continue
            # "end-of-line = ( cr lf / cr / lf )" (section 9.2.5). A CR ends its line at once: the LF may never come.
            rest = piece[1:] if after_cr and piece.startswith(b'\n') else piece
            after_cr = piece.endswith(b'\r')
            *ends, rest = rest.replace(b'\r\n', b'\n').replace(b'\r', b'\n').split(b'\n')
            for end in ends:
                line += end
                size += len(line) + 1
                _check(size, max_bytes)
                if at_start:
                    # "Streams must be decoded using the UTF-8 decode algorithm", which strips one mark.
                    at_start = False
                    line = line.removeprefix(_BYTE_ORDER_MARK)
                if line:
                    buffers.take(line.decode('utf-8', 'replace'))
                else:
                    size = 0
                    event = buffers.dispatch()
                    if event is not None:
                        yield event
                line.clear()
            line += rest
            _check(size + len(line), max_bytes)
    finally:
        close: Any = getattr(body, 'aclose', None)
        if close is not None:
            await close()


def _check(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise LimitError(f'the server sent an event of at least {size} bytes, over the limit of {max_bytes}')


class _Buffers:
    """The buffers of section 9.2.6, filled line by line."""

    def __init__(self, last_id: str, retry: int | None) -> None:
        self.last_id = last_id
        self.retry = retry
        self._id = last_id
        self._type = ''
        self._data: list[str] = []

    def take(self, line: str) -> None:
        """One line that is not empty. A comment begins with a colon, and so has no name."""
        name, _, value = line.partition(':')
        value = value.removeprefix(' ')
        if name == 'data':
            self._data.append(value)
        elif name == 'event':
            self._type = value
        elif name == 'id' and '\0' not in value:
            self._id = value
        elif name == 'retry' and value.isascii() and value.isdigit():
            # "interpret the field value as an integer in base ten": whatever zeros it begins with.
            digits = value.lstrip('0') or '0'
            if len(digits) <= _RETRY_DIGITS_MAX:
                self.retry = int(digits)

    def dispatch(self) -> Event | None:
        """An empty line: the event, "if the data buffer is an empty string" none."""
        # "Set the last event ID string of the event source to the value of the last event ID buffer. The buffer does
        # not get reset": before the data is looked at.
        self.last_id = self._id
        data, self._data = self._data, []
        kind, self._type = self._type, ''
        return Event(kind or 'message', '\n'.join(data), self.last_id) if data else None
