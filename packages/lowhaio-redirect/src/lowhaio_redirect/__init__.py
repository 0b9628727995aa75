"""An exchange that follows redirects (RFC 9110 section 15.4), and keeps credentials with their origin.

`redirected(exchange)` takes an exchange and returns one:

    call = redirected(exchange)
    async with call(b'GET', 'https://example.com/', {}, None) as (code, headers, body):
        ...

What is raised here:

    RedirectError
    ├── TooManyError     more redirects than max_redirects
    ├── LocationError    a Location that is no http:// or https:// URL, or not plainly one
    ├── InsecureError    from https to http
    └── BodyError        the body would have to be sent again, and can be made only once

Settings that make no sense raise `TypeError` or `ValueError`. What `exchange` raises comes out as it is. If it was
raised after a redirect, it gets an attribute `redirects`.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

__all__ = [
    'CREDENTIALS',
    'BodyError',
    'InsecureError',
    'LocationError',
    'RedirectError',
    'TooManyError',
    'redirected',
]

CREDENTIALS = frozenset({b'authorization', b'cookie', b'proxy-authorization'})
"""The headers that say who asks."""

# "If the request method has been changed to GET or HEAD, remove content-specific header fields, including (but not
# limited to)" these (RFC 9110 section 15.4), and those that say how the content was to be sent.
_CONTENT = frozenset(
    {
        *(b'content-encoding', b'content-language', b'content-location', b'content-type', b'content-length'),
        *(b'content-digest', b'repr-digest', b'digest', b'last-modified', b'transfer-encoding', b'trailer', b'expect'),
    }
)

_REDIRECTS = (b'301', b'302', b'303', b'307', b'308')

# What is read of a response that redirects, so that its connection can be used again. More would cost more than a new
# connection.
_DRAINED_BYTES = 65536

# The bytes that RFC 3986 section 2 knows, and those beyond ASCII, which servers send without escaping them.
_REFERENCE = re.compile(rb"[0-9A-Za-z._~:/?#\[\]@!$&'()*+,;=%\x80-\xff-]*")
_SCHEME = re.compile(r'[A-Za-z][A-Za-z0-9+.-]*:')
_ABSOLUTE = re.compile(r'(?i:https?)://(?:[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?(?:[/?#].*)?')
# Scheme, authority with its slashes, path, query with its mark and fragment with its sign (RFC 3986 appendix B).
_PARTS = re.compile(r'(?:([A-Za-z][A-Za-z0-9+.-]*):)?(//[^/?#]*)?([^?#]*)(\?[^#]*)?(#.*)?', re.DOTALL)
_ORIGIN = re.compile(r'(https?)://([^/?#]*?)(:[0-9]*)?(?=[/?#]|\Z)')
_PORTS = {'http': ':80', 'https': ':443'}

_Response = tuple[bytes, dict[bytes, bytes], AsyncGenerator[bytes, Any]]
_Exchange = Callable[[bytes, str, Mapping[bytes, bytes], Any], AbstractAsyncContextManager[_Response]]


class RedirectError(Exception):
    """A redirect that is not followed."""


class TooManyError(RedirectError):
    """More redirects than `max_redirects`."""


class LocationError(RedirectError):
    """A Location that is no `http://` or `https://` URL, or not plainly one."""


class InsecureError(RedirectError):
    """From https to http: what was asked for in secret would be asked for in the open."""


class BodyError(RedirectError):
    """The body would have to be sent again, and is a generator, which can be made only once."""


def redirected(
    exchange: _Exchange,
    *,
    max_redirects: int = 10,
    credentials: Collection[bytes] = CREDENTIALS,
    on_redirect: Callable[[str], object] | None = None,
) -> _Exchange:
    """Return an exchange that follows up to `max_redirects` redirects with `exchange`.

    - 301, 302, 303, 307 and 308 with a `Location` are followed. You get every other response as it is.
    - The method becomes GET after 303, unless it is HEAD, and after 301 and 302 if it is POST, as in browsers. Then the
      body is left out, and so are the headers about it.
    - The headers in `credentials` go to the origin that they were given for: the same scheme, host and port. After a
      redirect to another one they are gone, even if a later one leads back. Add other headers that identify you, such
      as `b'x-api-key'`, to `CREDENTIALS`. A `host` header is for the first request only.
    - From https to http is never followed.
    - The fragment of a URL is inherited where a `Location` has none (RFC 9110 section 10.2.2).
    - `on_redirect(url)` is called before each request but the first with its URL. What it raises ends the call.

    A body that is sent again is made again by its function; if it is a generator, `BodyError` is raised. Raises
    `TooManyError`, `LocationError` and `InsecureError`, once the block of the response that redirects is left, and
    whatever `exchange` raises.

    An error of `exchange` after a redirect is about that step alone. It may say that nothing was sent, although the
    request before it was sent and done. So it gets an attribute `redirects`: how many were followed before it.

    Up to 64 KiB of a response that redirects are read, so that its connection can be used again. Cancelled, nothing is
    left behind.
    """
    if isinstance(max_redirects, bool) or not isinstance(max_redirects, int):
        raise TypeError(f'max_redirects must be an int, not {max_redirects!r}')
    if max_redirects < 0:
        raise ValueError(f'max_redirects must be at least 0, not {max_redirects}')

    @asynccontextmanager
    async def call(method: bytes, url: str, headers: Mapping[bytes, bytes], body: Any) -> AsyncIterator[_Response]:
        redirects = 0
        while True:
            handed_out = False
            try:
                async with exchange(method, url, headers, body) as (code, received, content):
                    location = received.get(b'location')
                    if code not in _REDIRECTS or location is None:
                        handed_out = True
                        yield code, received, content
                        return
                    await _drain(content)
            except Exception as error:
                if redirects and not handed_out:
                    error.__dict__['redirects'] = redirects
                raise
            if redirects == max_redirects:
                raise TooManyError(f'more than {max_redirects} redirects, the last from {url} to {location!r}')
            target = _target(url, location)
            dropped = {b'host'}
            if _origin(target) != _origin(url):
                dropped.update(credentials)
            # The HTTP-redirect fetch of the Fetch standard: 303 says "see", and what browsers made of POST has become
            # the rule.
            if (code == b'303' and method != b'HEAD') or (code in (b'301', b'302') and method == b'POST'):
                method, body = b'GET', None
                dropped |= _CONTENT
            if hasattr(body, '__aiter__'):
                raise BodyError(f'{code.decode()} asks for the body again: hand in a function that makes a generator')
            headers = {name: value for name, value in headers.items() if name not in dropped}
            url = target
            redirects += 1
            if on_redirect is not None:
                on_redirect(url)

    return call


def _target(url: str, location: bytes) -> str:
    """The URL of the next request."""
    # A value with a blank is two headers that were joined, or no URI reference: which of them is meant is a guess.
    if not _REFERENCE.fullmatch(location):
        raise LocationError(f'the Location of {url} is not a URI reference: {location!r}')
    reference = ''.join(f'%{byte:02X}' if byte > 127 else chr(byte) for byte in location)
    if reference.startswith('//'):
        reference = f'{_origin(url)[0]}:{reference}'
    # With a scheme a reference is absolute (RFC 3986 section 5.2.2).
    refused = _SCHEME.match(reference) and not _ABSOLUTE.fullmatch(reference)
    target = '' if refused else _resolved(url, reference)
    if not _origin(target)[0]:
        raise LocationError(f'the Location of {url} is not an http:// or https:// URL without a user: {location!r}')
    if _origin(url)[0] == 'https' != _origin(target)[0]:
        raise InsecureError(f'from https to http: {url} redirects to {target}')
    return target


def _resolved(url: str, reference: str) -> str:
    """What a reference in `url` refers to (RFC 3986 section 5.2.2). `urljoin` loses empty queries and segments."""
    scheme, authority, path, query, fragment = _PARTS.findall(reference)[0]
    base_scheme, base_authority, base_path, base_query, base_fragment = _PARTS.findall(url)[0]
    if not authority and not path:
        path, query = base_path, query or base_query
    elif path:
        if not path.startswith('/'):
            path = f'{base_path.rpartition("/")[0]}/{path}'
        path = _without_dots(path)
    # "If the Location value provided in a 3xx (Redirection) response does not have a fragment component, a user agent
    # MUST process the redirection as if the value inherits the fragment component of the URI reference used to
    # generate the target URI" (RFC 9110 section 10.2.2).
    fragment = '' if fragment == '#' else fragment or base_fragment
    return f'{(scheme or base_scheme).lower()}:{authority or base_authority}{path}{query}{fragment}'


def _without_dots(path: str) -> str:
    """The path, which begins with a slash, without its segments `.` and `..` (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    segments = path.split('/')[1:]
    for segment in segments:
        if segment == '..':
            del kept[-1:]
        elif segment != '.':
            kept.append(segment)
    if segments[-1] in ('.', '..'):
        kept.append('')
    return '/' + '/'.join(kept)


def _origin(url: str) -> tuple[str, str, str]:
    """Scheme, host and port (RFC 9110 section 4.3.1)."""
    match = _ORIGIN.match(url.lower())
    if not match:
        return '', '', ''
    scheme, host, port = match.groups('')
    return scheme, host, port if len(port) > 1 else _PORTS[scheme]


async def _drain(content: AsyncGenerator[bytes, Any]) -> None:
    size = 0
    async for piece in content:
        size += len(piece)
        if size > _DRAINED_BYTES:
            return
