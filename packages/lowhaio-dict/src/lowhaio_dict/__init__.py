"""HTTP headers (RFC 9110 section 5) to bytes and to a dictionary.

- `serialize(headers)`: a mapping to the bytes of a request's header lines.
- `collect(headers, cursor)`: an async generator of `(key, value, cursor)` to a dictionary and the last cursor.

Raised here: `LimitError`, for headers of more bytes than allowed. A header that cannot be sent is the caller's mistake:
`TypeError` or `ValueError`.
"""

import re
from collections.abc import AsyncIterator, Mapping

__all__ = ['LimitError', 'collect', 'serialize']

# RFC 9110 section 5.1: field-name = token. Section 5.5: a value has visible characters at both ends, and between them
# spaces and tabs too. "Field values containing CR, LF, or NUL characters are invalid and dangerous", because what
# follows them could be read as another header or another request; the other control characters are invalid as well.
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb'(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?')


class LimitError(Exception):
    """The headers of a message take more bytes than allowed."""


def serialize(headers: Mapping[bytes, bytes | list[bytes] | tuple[bytes, ...]]) -> bytes:
    r"""Return the header lines, each with its CRLF, in the order of the mapping.

    A value that is a list or a tuple makes a line for each of its items, and none if it is empty. The empty line that
    ends the headers is not part of the result:

        b'GET / HTTP/1.1\r\n' + serialize({b'host': b'example.com'}) + b'\r\n'

    Raises `TypeError` for a name or a value that is not bytes. Raises `ValueError`

    - for a name that is not a token, and for one that is there twice, as `Accept` and `accept`;
    - for a value that holds a control character other than a tab, or that begins or ends with white space, which is not
      part of a value and which the receiver would take off;
    - for two answers to where the message ends: more than one `content-length`, or one beside `transfer-encoding`.
    """
    lines = []
    counts: dict[bytes, int] = {}
    for name, values in headers.items():
        listed = values if isinstance(values, list | tuple) else [values]
        for value in listed:
            try:
                valid = _NAME.fullmatch(name) and _VALUE.fullmatch(value)
            except TypeError:
                raise TypeError(f'the name and the value of a header are bytes: {name!r}: {value!r}') from None
            if not valid:
                raise ValueError(f'not a header that can be sent: {name!r}: {value!r}')
            lines.append(b'%b: %b\r\n' % (name, value))
        if listed:
            # "Field names are case-insensitive" (RFC 9110 section 5.1): which of two spellings is meant, nobody knows.
            if name.lower() in counts:
                raise ValueError(f'a header that is there twice, in upper and lower case: {name!r}')
            counts[name.lower()] = len(listed)
    # RFC 9112 section 6.2: "A sender MUST NOT send a Content-Length header field in any message that contains a
    # Transfer-Encoding header field." Where two servers on the way believe different ones, a second request hides in
    # the body of the first. So it is with two lengths.
    if counts.get(b'content-length', 0) > 1:
        raise ValueError(f'{counts[b"content-length"]} times content-length: a message has one length')
    if b'content-length' in counts and b'transfer-encoding' in counts:
        raise ValueError('content-length beside transfer-encoding: a message has one of them')
    return b''.join(lines)


async def collect(
    headers: AsyncIterator[tuple[bytes, bytes, int]], cursor: int, *, max_bytes: int = 262144
) -> tuple[dict[bytes, bytes], int]:
    r"""Return a dictionary of all headers, and the cursor after them.

    A header that is repeated has its values joined by `b', '`, in order, which RFC 9110 section 5.3 says means the
    same. `set-cookie` is the exception that section 5.3 names: a cookie may hold a comma. Its values are joined by
    `b'\n'`, which no value can hold, so that `.split(b'\n')` gives back every one of them. All values are bytes then,
    and no value is lost.

    `cursor` is the one before the headers, and is returned when there are none.

    Raises `LimitError` for headers of more than `max_bytes` bytes, by the cursors: as they were received, with their
    white space and line ends. How many they are does not matter. The default, 256 KiB, is about what browsers take.
    Raises whatever `headers` raises. However it ends, by cancellation too, `headers` is closed if it can be:
    generators can, other async iterators need not.
    """
    found: dict[bytes, list[bytes]] = {}
    start = cursor
    try:
        async for key, value, after in headers:
            cursor = after
            if cursor - start > max_bytes:
                raise LimitError(f'headers of more than {max_bytes} bytes')
            found.setdefault(key, []).append(value)
    finally:
        if aclose := getattr(headers, 'aclose', None):
            await aclose()
    return {key: (b'\n' if key == b'set-cookie' else b', ').join(values) for key, values in found.items()}, cursor
