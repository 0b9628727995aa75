"""Server-sent events (WHATWG HTML section 9.2): a body of bytes to events.

`events(body)` takes an async generator of bytes, and yields an `Event` for each that the server has sent whole.

What is raised here:

    EventStreamError
    └── LimitError    an event of more than `max_bytes`
"""

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any, NamedTuple

__all__ = ['Event', 'EventStreamError', 'LimitError', 'events']

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
        last_id: The id said last, in this event or before. Send it as `last-event-id` when you connect again.
        retry: Milliseconds to wait before you connect again, if the server has said so by now.

    """

    type: str
    data: str
    last_id: str
    retry: int | None


async def events(
    body: AsyncIterable[bytes], *, last_id: str = '', max_bytes: int = 1_000_000
) -> AsyncGenerator[Event, None]:
    """Yield the events of `body` (section 9.2.6), each as soon as the empty line after it has arrived.

    - `last_id`: the one to begin with, when you connect again.
    - `max_bytes`: the most bytes between two empty lines, comments and names of fields included.

    What the end of `body` cuts off is dropped, as the section says. Bytes that are not UTF-8 become U+FFFD.

    Raises `LimitError`, and whatever `body` raises. However it ends, by cancellation too, `body` is closed, if it can
    be. Cancelled, the event under way is lost: connect again with the `last_id` of the event before.
    """
    buffers = _Buffers(last_id)
    line = bytearray()
    size = 0
    at_start, after_cr = True, False
    try:
        async for piece in body:
            # A CR ends its line at once, as the LF after it may never come.
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
        raise LimitError(f'an event of at least {size} bytes, over the limit of {max_bytes}')


class _Buffers:
    """The buffers of section 9.2.6, filled line by line."""

    def __init__(self, last_id: str) -> None:
        self._data: list[str] = []
        self._type = ''
        self._last_id = last_id
        self._retry: int | None = None

    def take(self, line: str) -> None:
        """One line that is not empty. A comment begins with a colon, and so has no name."""
        name, _, value = line.partition(':')
        value = value.removeprefix(' ')
        if name == 'data':
            self._data.append(value)
        elif name == 'event':
            self._type = value
        elif name == 'id' and '\0' not in value:
            self._last_id = value
        elif name == 'retry' and value.isascii() and value.isdigit() and len(value) <= _RETRY_DIGITS_MAX:
            self._retry = int(value)

    def dispatch(self) -> Event | None:
        """An empty line: the event, "if the data buffer is an empty string" none."""
        data, self._data = self._data, []
        kind, self._type = self._type, ''
        return Event(kind or 'message', '\n'.join(data), self._last_id, self._retry) if data else None
