"""The opening handshake of a WebSocket (RFC 6455 section 4): the headers of the request, and the check of the response.

- `opening(...)` returns the headers of the request.
- `check(opening, code, headers)` raises unless the response agrees to them.

Then the connection is a WebSocket. You send and receive its frames, with a library such as wsproto.

What is raised here:

    HandshakeError
    ├── RefusedError            another status than 101: the response is one of HTTP, and may say why
    └── InvalidResponseError    101, but not to this request: the connection is of no use
"""

import base64
import hashlib
import re
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence

__all__ = ['HandshakeError', 'InvalidResponseError', 'RefusedError', 'check', 'opening']

# Section 1.3: what is hashed with the key, "unlikely to be used by network endpoints that do not understand the
# WebSocket Protocol".
_GUID = b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

# Section 9.1, without the white space around it:
#   extension-token *( ";" extension-param ), where extension-param = token [ "=" (token | quoted-string) ]
# "When using the quoted-string syntax variant, the value after quoted-string unescaping MUST conform to the 'token'
# ABNF": so there is no comma in it.
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_EXTENSION = re.compile(rb'%b(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|"%b"))?)*' % ((_TOKEN,) * 4))
_SUBPROTOCOL = re.compile(_TOKEN)


class HandshakeError(Exception):
    """The connection did not become a WebSocket."""


class RefusedError(HandshakeError):
    """The server answered with another status than 101, which is `code`.

    The response is an ordinary one. It may have a body that says why, be a redirect, or ask for credentials.
    """

    def __init__(self, code: bytes) -> None:
        super().__init__(code)
        self.code = code

    def __str__(self) -> str:
        return (
            f'the server answered with status {self.code.decode("latin-1")} and not with 101: its response may say why'
        )


class InvalidResponseError(HandshakeError):
    """The server answered with 101, and with headers that are no answer to this handshake."""


def opening(*, subprotocols: Sequence[bytes] = (), extensions: Sequence[bytes] = ()) -> dict[bytes, bytes]:
    r"""Return the headers that ask for a WebSocket.

    They are added to those of a GET in HTTP/1.1, which needs a `host`:

        b'GET /chat HTTP/1.1\r\n' + serialize({b'host': b'example.com', **opening()}) + b'\r\n'

    - `subprotocols`: such as `b'chat'`, the most wanted one first. The server picks one or none.
    - `extensions`: such as `b'permessage-deflate; client_max_window_bits'`, for whoever knows how to undo them.

    The key among the headers is made of random bytes, so call this for every connection anew. A browser would add its
    `origin`, which some servers ask for.

    Raises `TypeError` for what is neither a list nor a tuple of bytes. Raises `ValueError` for a subprotocol that is
    not a token or is there twice, and for an extension that does not have the form of one.
    """
    for name, values in (('subprotocols', subprotocols), ('extensions', extensions)):
        if not isinstance(values, list | tuple) or not all(isinstance(value, bytes) for value in values):
            raise TypeError(f'{name} must be a list of bytes, not {values!r}')
    for subprotocol in subprotocols:
        # Section 4.1: "The elements that comprise this value MUST be non-empty strings with characters in the range
        # U+0021 to U+007E not including separator characters as defined in [RFC2616] and MUST all be unique strings."
        if not _SUBPROTOCOL.fullmatch(subprotocol):
            raise ValueError(f'not a subprotocol: {subprotocol!r}')
    if len(set(subprotocols)) < len(subprotocols):
        raise ValueError(f'a subprotocol that is there twice: {subprotocols!r}')
    for extension in extensions:
        if not _EXTENSION.fullmatch(extension):
            raise ValueError(f'not an extension: {extension!r}')
    headers = {
        b'upgrade': b'websocket',
        b'connection': b'Upgrade',
        # "The value of this header field MUST be a nonce consisting of a randomly selected 16-byte value that has been
        # base64-encoded [...] The nonce MUST be selected randomly for each connection."
        b'sec-websocket-key': base64.b64encode(secrets.token_bytes(16)),
        # "The value of this header field MUST be 13."
        b'sec-websocket-version': b'13',
    }
    if subprotocols:
        headers[b'sec-websocket-protocol'] = b', '.join(subprotocols)
    if extensions:
        headers[b'sec-websocket-extensions'] = b', '.join(extensions)
    return headers


def check(opening: Mapping[bytes, bytes], code: bytes, headers: Mapping[bytes, bytes]) -> bytes | None:
    """Return the subprotocol that the server has picked, `None` if it has picked none.

    - `opening`: what `opening` returned, as it was sent. Other headers may be there too.
    - `code`, `headers`: those of the response, names in lower case and repeated headers joined by commas, as
      `lowhaio_dict.collect` makes them. Interim responses other than 101 come before it and are not for this.

    The extensions that the server has picked are in `headers[b'sec-websocket-extensions']`. All of them were offered.
    Check their parameters where you undo them.

    Raises `RefusedError` for another status than 101, and `InvalidResponseError` for a 101 with the wrong headers: then
    the client must close the connection, as leaving its block does. Raises `ValueError` without a key in `opening`.
    """
    key = opening.get(b'sec-websocket-key')
    if key is None:
        raise ValueError('no sec-websocket-key in the headers of the request: pass what opening() returned')
    # Section 4.1, "The client MUST validate the server's response as follows", 1.: "If the status code received from
    # the server is not 101, the client handles the response per HTTP [RFC2616] procedures."
    if code != b'101':
        raise RefusedError(code)
    # 2. "If the response lacks an |Upgrade| header field or the |Upgrade| header field contains a value that is not an
    # ASCII case-insensitive match for the value "websocket", the client MUST _Fail the WebSocket Connection_."
    upgrade = headers.get(b'upgrade')
    if upgrade is None or upgrade.lower() != b'websocket':
        raise InvalidResponseError(
            f'upgrade is {_begin(upgrade)} and not websocket: the server changed to something else'
        )
    # 3. "If the response lacks a |Connection| header field or the |Connection| header field doesn't contain a token
    # that is an ASCII case-insensitive match for the value "Upgrade", the client MUST _Fail the WebSocket Connection_."
    connection = headers.get(b'connection')
    if connection is None or b'upgrade' not in _elements(connection.lower()):
        raise InvalidResponseError(f'connection is {_begin(connection)}, without upgrade in it')
    # 4. "If the response lacks a |Sec-WebSocket-Accept| header field or the |Sec-WebSocket-Accept| contains a value
    # other than the base64-encoded SHA-1 of the concatenation of the |Sec-WebSocket-Key| (as a string, not
    # base64-decoded) with the string "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" but ignoring any leading and trailing
    # whitespace, the client MUST _Fail the WebSocket Connection_." Here this shows that the server has read the
    # request, and nothing else: SHA-1 keeps no secret.
    accept = headers.get(b'sec-websocket-accept')
    expected = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    if accept is None or accept.strip(b' \t') != expected:
        raise InvalidResponseError(
            f'sec-websocket-accept is {_begin(accept)} and not {expected!r}: no answer to this key'
        )
    # 5. "If the response includes a |Sec-WebSocket-Extensions| header field and this header field indicates the use of
    # an extension that was not present in the client's handshake (the server has indicated an extension not requested
    # by the client), the client MUST _Fail the WebSocket Connection_." So it is with one picked twice.
    picked = _elements(headers.get(b'sec-websocket-extensions', b''))
    for extension in picked:
        if not _EXTENSION.fullmatch(extension):
            raise InvalidResponseError(f'not an extension: {_begin(extension)}')
    surplus = _names(picked) - _names(_elements(opening.get(b'sec-websocket-extensions', b'')))
    if surplus:
        raise InvalidResponseError(f'an extension that was not asked for, or not as often: {_begin(min(surplus))}')
    # 6. "If the response includes a |Sec-WebSocket-Protocol| header field and this header field indicates the use of a
    # subprotocol that was not present in the client's handshake (the server has indicated a subprotocol not requested
    # by the client), the client MUST _Fail the WebSocket Connection_."
    subprotocol = headers.get(b'sec-websocket-protocol')
    if subprotocol is not None and subprotocol not in _elements(opening.get(b'sec-websocket-protocol', b'')):
        raise InvalidResponseError(f'a subprotocol that was not asked for: {_begin(subprotocol)}')
    return subprotocol


def _begin(value: bytes | None) -> str:
    """What a message shows of a value: the server makes it as long as it likes."""
    return repr(value and value[:80])


def _elements(value: bytes) -> list[bytes]:
    # RFC 9110 section 5.6.1.2: "A recipient MUST parse and ignore a reasonable number of empty list elements".
    return [element for element in (part.strip(b' \t') for part in value.split(b',')) if element]


def _names(extensions: list[bytes]) -> Counter[bytes]:
    """The names of the extensions, each as often as it is there."""
    return Counter(extension.partition(b';')[0].strip(b' \t') for extension in extensions)
