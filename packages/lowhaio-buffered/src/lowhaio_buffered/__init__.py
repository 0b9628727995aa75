"""A whole body as bytes.

`buffered(body, max_bytes)` takes a body that is an async generator of bytes, and raises `LimitError` for one that is
larger than the caller has room for.
"""

from collections.abc import AsyncIterator
from io import BytesIO

__all__ = ['LimitError', 'buffered']


class LimitError(Exception):
    """The body is larger than `max_bytes`."""


async def buffered(body: AsyncIterator[bytes], max_bytes: int) -> bytes:
    """Return all of `body`, which may be `max_bytes` bytes long.

    At most `max_bytes` and one piece are held, and no piece is kept on its own: many small ones take no more memory
    than few large ones.

    Raises `LimitError` as soon as the limit is passed, and whatever `body` raises. However it ends, by cancellation
    too, `body` is closed, and what was received is lost. An async iterator that is no generator need not have an
    `aclose`: it is closed if it has.
    """
    content = BytesIO()
    try:
        async for piece in body:
            if content.tell() + len(piece) > max_bytes:
                raise LimitError(f'a body of more than {max_bytes} bytes')
            content.write(piece)
    finally:
        if aclose := getattr(body, 'aclose', None):
            await aclose()
    return content.getvalue()
