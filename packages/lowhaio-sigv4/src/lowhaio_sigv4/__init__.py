"""AWS Signature Version 4: the headers that sign a request, to S3, to what speaks its language, and to other services.

- `sign(method, host, target, headers, body_hash, ...)` returns the headers to add to a request.
- `hash_of(body)` is the `body_hash` of a body in one piece; `UNSIGNED_PAYLOAD` stands for one that is not signed.
- `Credentials` holds the keys.

Nothing is sent and nothing is repaired: a signature fits one request, byte for byte. What two programs might escape or
shorten in two ways is refused, as the server would find another signature and say no more than that. A request that
cannot be signed is the caller's mistake, `TypeError` or `ValueError`; this module has no errors of its own.
"""

import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes

__all__ = ['UNSIGNED_PAYLOAD', 'Credentials', 'hash_of', 'sign']

UNSIGNED_PAYLOAD = b'UNSIGNED-PAYLOAD'
"""The `body_hash` of a body that the signature does not cover, as its hash is not known when the headers are sent.

S3 takes it. What is left to protect the body is TLS: do not use it over `http://`.
"""

# Those whose paths are the names of objects: what stands in them is signed as it is sent.
_S3 = frozenset([b's3', b's3-object-lambda', b's3-outposts', b's3express'])

# A proxy on the way may take these off, add to them or change them, and the signature would fit no longer: the fields
# of one hop (RFC 9110 section 7.6.1), and those that tell who passed a request on.
_UNSIGNED = frozenset([
    b'baggage', b'connection', b'expect', b'keep-alive', b'proxy-authenticate', b'proxy-authorization', b'te',
    b'traceparent', b'tracestate', b'trailer', b'transfer-encoding', b'upgrade', b'user-agent', b'x-amzn-trace-id',
])  # fmt: skip

# Method and header name: token (RFC 9110 section 5.6.2).
_GRAMMAR = {
    'method': re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"),
    'host': re.compile(rb'(?:[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?'),
    'body_hash': re.compile(rb'[0-9a-f]{64}|UNSIGNED-PAYLOAD'),
    'region': re.compile(rb'[0-9A-Za-z_-]+'),
    'service': re.compile(rb'[0-9A-Za-z_-]+'),
    'name of a header in lower case': re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+"),
}
# Visible ASCII with spaces between it: servers read other bytes in more than one way.
_VALUE = re.compile(rb'(?:[!-~](?:[ -~]*[!-~])?)?')
# Visible ASCII: no white space, which a file or a variable adds at its end. The first is put between `=`, `/` and `,`.
_KEYS = {
    'access_key': re.compile(rb'[^\0- ,/=\x7f-\xff]+'),
    'secret_key': re.compile(rb'[!-~]+'),
    'session_token': re.compile(rb'[!-~]+'),
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What AWS calls access key ID, secret access key and, with temporary credentials, session token.

    The secrets are not in its `repr`, nor in an error's message. Raises `TypeError` for what is not bytes, and
    `ValueError` for what is empty or has a white space in it. No session token is `None`.
    """

    access_key: bytes
    secret_key: bytes = field(repr=False)
    session_token: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, pattern in _KEYS.items():
            value = getattr(self, name)
            if value is None and name == 'session_token':
                continue
            if not isinstance(value, bytes):
                raise TypeError(f'{name} must be bytes, not {type(value).__name__}')
            if not pattern.fullmatch(value):
                raise ValueError(f'{name} of {len(value)} bytes is empty, or has in it what no such key has')


def hash_of(body: bytes) -> bytes:
    """Return the `body_hash` of a body in one piece, `b''` where there is none: SHA-256 in hexadecimal digits."""
    return hashlib.sha256(body).hexdigest().encode()


def sign(
    method: bytes,
    host: bytes,
    target: bytes,
    headers: Mapping[bytes, bytes],
    body_hash: bytes,
    *,
    credentials: Credentials,
    region: bytes,
    service: bytes,
    now: dt.datetime | None = None,
) -> dict[bytes, bytes]:
    """Return the headers to add to a request, `authorization` among them.

    The others are `x-amz-date`, `x-amz-content-sha256` and, with a session token, `x-amz-security-token`.

    - `method`, `host`, `target`: as they are sent. `host` is the value of the `host` header: without the port if that
      is the one of the scheme.
    - `headers`: those of the request, names in lower case. All are signed but those that may change on the way, such as
      `connection` and `user-agent`. Those that are added to a request later are not signed. `host` need not be there.
    - `body_hash`: `hash_of(body)`, the SHA-256 of what was hashed elsewhere in 64 hexadecimal digits, or
      `UNSIGNED_PAYLOAD`.
    - `credentials`, `region`, `service`: such as `b'eu-central-1'` and `b's3'`.
    - `now`: the time of the signature, with its zone; by default that of the system's clock. A server takes it for some
      minutes, S3 for 15: sign again what you send again.

    In `target` everything must be escaped but letters, digits, `-._~`, the `/` of the path and the `?&=` of the query,
    with hexadecimal digits in capitals: `urllib.parse.quote(key)` and `urlencode(query, quote_via=quote, safe='')` do
    that. A service other than S3 sees a path with its escapes escaped again, and several slashes as one.

    Raises `TypeError` for what is not bytes. Raises `ValueError`

    - for a target that is escaped in another way, where the server may see another path or query than was signed; for
      S3 also for `%2F` in the path, for other services for a segment that is `.` or `..`;
    - for a header that cannot be signed: with a name in capitals, or with a value that is not printable ASCII;
    - for one that is added here, as a request that was signed already has, and for a `host` that is not the one given;
    - for a `now` without a zone, and for a method, host, hash, region or service that is none.
    """
    given = {'method': method, 'host': host, 'body_hash': body_hash, 'region': region, 'service': service}
    for what, value in given.items():
        _check(what, value)
    # The one place where the clock is read.
    moment = dt.datetime.now(dt.UTC) if now is None else now
    if moment.utcoffset() is None:
        raise ValueError(f'a time without a zone: {moment!r}; datetime.now(datetime.UTC) has one')
    time = moment.astimezone(dt.UTC).strftime('%Y%m%dT%H%M%SZ').encode()
    added = {b'x-amz-date': time, b'x-amz-content-sha256': body_hash}
    if credentials.session_token is not None:
        added[b'x-amz-security-token'] = credentials.session_token

    signed = {b'host': host, **added}
    for name, value in headers.items():
        _check('name of a header in lower case', name)
        if name in (b'authorization', b'x-amz-security-token') or name in added:
            raise ValueError(f'{name!r} is added by signing: hand in the headers without it')
        if name == b'host' and value != host:
            raise ValueError(f'the host header is {value!r}, and the host to sign for is {host!r}')
        if not isinstance(value, bytes):
            raise TypeError(f'the value of {name!r} must be bytes, not {type(value).__name__}')
        if name not in _UNSIGNED:
            if not _VALUE.fullmatch(value):
                raise ValueError(
                    f'not a value that can be signed, as it is not visible ASCII: {len(value)} bytes of {name!r}'
                )
            signed[name] = value

    # What is signed, "CanonicalRequest" in AWS's documents: line by line, headers in order of their names, several
    # spaces in a value as one.
    names = b';'.join(sorted(signed))
    lines = [b'%b:%b\n' % (name, re.sub(rb' +', b' ', value)) for name, value in sorted(signed.items())]
    path, query = _canonical(target, service in _S3)
    canonical = b'\n'.join([method, path, query, b''.join(lines), names, body_hash])

    # "StringToSign", and the key for it, which is derived for one day, one region and one service.
    scope = b'%b/%b/%b/aws4_request' % (time[:8], region, service)
    text = b'AWS4-HMAC-SHA256\n%b\n%b\n%b' % (time, scope, hash_of(canonical))
    key = b'AWS4' + credentials.secret_key
    for part in scope.split(b'/'):
        key = hmac.digest(key, part, 'sha256')
    signature = hmac.digest(key, text, 'sha256').hex().encode()
    added[b'authorization'] = b'AWS4-HMAC-SHA256 Credential=%b/%b, SignedHeaders=%b, Signature=%b' % (
        credentials.access_key, scope, names, signature,
    )  # fmt: skip
    return added


def _check(what: str, value: bytes) -> None:
    if not isinstance(value, bytes):
        raise TypeError(f'{what} must be bytes, not {type(value).__name__}: {value!r}')
    if not _GRAMMAR[what].fullmatch(value):
        raise ValueError(f'not a {what}: {value!r}')


def _canonical(target: bytes, s3: bool) -> tuple[bytes, bytes]:
    """The path and the query of the target as they are signed."""
    if not isinstance(target, bytes):
        raise TypeError(f'target must be bytes, not {type(target).__name__}: {target!r}')
    path, _, query = target.partition(b'?')
    segments = path.split(b'/')
    if segments[0] or len(segments) == 1 or not all(map(_is_escaped, segments)):
        raise ValueError(f'not a path escaped as by urllib.parse.quote: {path!r}')
    if s3 and b'%2F' in path:
        # "Encode the forward slash character, '/', everywhere except in the object key name."
        raise ValueError(f"a slash in an object's key is not escaped: {path!r}")
    if not s3:
        # "Normalize URI paths according to RFC 3986. Remove redundant and relative path components. Each path segment
        # must be URI-encoded twice". Programs differ in what they leave of dots, so there may be none.
        if not {b'.', b'..'}.isdisjoint(segments):
            raise ValueError(f'a path with . or .. as a segment, which the server may see without: {path!r}')
        path = re.sub(rb'/+', b'/', path).replace(b'%', b'%25')
    pairs = []
    for pair in query.split(b'&') if query else []:
        name, _, value = pair.partition(b'=')
        if not name or not _is_escaped(name) or not _is_escaped(value):
            raise ValueError(f"not a query escaped as by urlencode(..., quote_via=quote, safe=''): {query!r}")
        pairs.append((name, value))
    # By name and then by value: joined first, `a=` would come after `a-`.
    return path, b'&'.join([b'%b=%b' % pair for pair in sorted(pairs)])


def _is_escaped(part: bytes) -> bool:
    """Whether it is what "UriEncode" in AWS's documents makes of what it stands for."""
    return quote(unquote_to_bytes(part), safe='').encode() == part
