"""The errors of lowhaio: one base, two families, five kinds.

The **family** says how far the request got, which is what a retry needs to know. The **kind** says what went wrong.
Where a kind can happen on either side of the first byte, each family has its own class of it, so that one can be
caught by family, by kind, or by both:

| what went wrong                | kind                  | before a byte was sent        | after                       |
|--------------------------------|-----------------------|-------------------------------|-----------------------------|
| no place in time               |                       | `PoolTimeoutError`            |                             |
| no address could be connected  |                       | `ConnectError`                |                             |
| not connected in time          |                       | `ConnectTimeoutError`         |                             |
| TLS failed                     | `TLSError`            | `UnsentTLSError`              | `SentTLSError`              |
| no progress in time            | `TransferTimeoutError`| `UnsentTimeoutError`          | `SentTimeoutError`          |
| closed too early               | `ClosedError`         | `UnsentClosedError`           | `SentClosedError`           |
| the server broke the protocol  | `RemoteProtocolError` | `UnsentRemoteProtocolError`   | `SentRemoteProtocolError`   |
| the caller broke the protocol  | `LocalProtocolError`  | `UnsentLocalProtocolError`    | `SentLocalProtocolError`    |
| *the family*                   | `LowhaioError`        | `UnsentError`                 | `SentError`                 |

Every timeout is also a `TimeoutError`, every lost connection also a `ConnectionError`. The exception of the layer
below, where there is one, is the `__cause__`.
"""


class LowhaioError(Exception):
    """Base of all errors of lowhaio.

    Attributes:
        bytes_sent: Bytes of this request that the socket accepted; over TLS, bytes before encryption.
        bytes_received: Bytes received since the request began; over TLS, bytes after decryption.
        reused: Whether an earlier request went over the same connection.
        caller_erred: Whether the caller made a mistake, which sending again would only repeat.

    """

    caller_erred = False

    def __init__(self, message: str, *, bytes_sent: int = 0, bytes_received: int = 0, reused: bool = False) -> None:
        super().__init__(message)
        self.bytes_sent = bytes_sent
        self.bytes_received = bytes_received
        self.reused = reused


class UnsentError(LowhaioError):
    """Family: no byte of the request was sent, so it is safe to try again whatever its method."""


class SentError(LowhaioError):
    """Family: at least one byte of the request was sent, so the server may have acted on it."""


class TLSError(LowhaioError):
    """Kind: the handshake failed, the certificate was refused, or a record was bad."""


class TransferTimeoutError(LowhaioError, TimeoutError):
    """Kind: not one byte moved for `max_wait_send_recv_seconds`."""


class ClosedError(LowhaioError, ConnectionError):
    """Kind: the connection ended before the message did, by a close, a reset or a TLS stream cut short."""


class RemoteProtocolError(LowhaioError):
    """Kind: the server sent what RFC 9112 does not allow, or what cannot be framed without a guess."""


class LocalProtocolError(LowhaioError):
    """Kind: the caller used the functions out of order, with a stale cursor, or after the block was left."""

    caller_erred = True


class PoolTimeoutError(UnsentError, TimeoutError):
    """No place in the pool came free within `max_wait_connection_seconds`."""


class ConnectError(UnsentError, ConnectionError):
    """No address could be connected to. With several, the `__cause__` is an `ExceptionGroup`."""


class ConnectTimeoutError(UnsentError, TimeoutError):
    """A place was there, but the connect and the handshake did not end within `max_wait_connection_seconds`."""


class UnsentTLSError(UnsentError, TLSError):
    """TLS failed before a byte of the request was sent; most often the handshake."""


class SentTLSError(SentError, TLSError):
    """TLS failed after the request began.

    In TLS 1.3 a refused client certificate shows here, or as `UnsentTLSError` where the refusal was faster.
    """


class UnsentTimeoutError(UnsentError, TransferTimeoutError):
    """The socket took no byte of the request in time."""


class SentTimeoutError(SentError, TransferTimeoutError):
    """The request began, and then nothing moved for too long."""


class UnsentClosedError(UnsentError, ClosedError):
    """The connection was lost before a byte of the request was sent."""


class SentClosedError(SentError, ClosedError):
    """The connection was lost after the request began and before the response ended."""


class UnsentRemoteProtocolError(UnsentError, RemoteProtocolError):
    """The server sent something before it was asked."""


class SentRemoteProtocolError(SentError, RemoteProtocolError):
    """The response is not HTTP/1.0 or HTTP/1.1, or is ambiguous."""


class UnsentLocalProtocolError(UnsentError, LocalProtocolError):
    """The caller's mistake was found before a byte of the request was sent."""


class SentLocalProtocolError(SentError, LocalProtocolError):
    """The caller's mistake was found after the request began."""


_BY_FAMILY: dict[type[LowhaioError], tuple[type[LowhaioError], type[LowhaioError]]] = {
    TLSError: (UnsentTLSError, SentTLSError),
    TransferTimeoutError: (UnsentTimeoutError, SentTimeoutError),
    ClosedError: (UnsentClosedError, SentClosedError),
    RemoteProtocolError: (UnsentRemoteProtocolError, SentRemoteProtocolError),
    LocalProtocolError: (UnsentLocalProtocolError, SentLocalProtocolError),
}


def of_kind(
    kind: type[LowhaioError], message: str, *, bytes_sent: int = 0, bytes_received: int = 0, reused: bool = False
) -> LowhaioError:
    """The error of this kind, in the family that `bytes_sent` tells, with the figures at the end of its message."""
    figures = f'{bytes_sent} bytes sent, {bytes_received} received, {"reused" if reused else "new"} connection'
    family = _BY_FAMILY[kind][bytes_sent > 0]
    return family(f'{message} ({figures})', bytes_sent=bytes_sent, bytes_received=bytes_received, reused=reused)
