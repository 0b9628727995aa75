"""A lightweight, dependency-free asyncio HTTP/1.1 client: six functions that expose the protocol.

`connection_pool` makes a pool; `pool.connection` opens or reuses a connection; `pool.send`, `pool.recv_status_line`,
`pool.recv_headers` and `pool.recv_body` move the bytes of one request and its response.
"""

from .errors import (
    ClosedError,
    ConnectError,
    ConnectTimeoutError,
    LocalProtocolError,
    LowhaioError,
    PoolTimeoutError,
    RemoteProtocolError,
    SentClosedError,
    SentError,
    SentLocalProtocolError,
    SentRemoteProtocolError,
    SentTimeoutError,
    SentTLSError,
    TLSError,
    TransferTimeoutError,
    UnsentClosedError,
    UnsentError,
    UnsentLocalProtocolError,
    UnsentRemoteProtocolError,
    UnsentTimeoutError,
    UnsentTLSError,
)
from .pool import Connection, Pool, connection_pool

__all__ = [
    'ClosedError', 'ConnectError', 'ConnectTimeoutError', 'Connection', 'LocalProtocolError', 'LowhaioError', 'Pool',
    'PoolTimeoutError', 'RemoteProtocolError', 'SentClosedError', 'SentError', 'SentLocalProtocolError',
    'SentRemoteProtocolError', 'SentTLSError', 'SentTimeoutError', 'TLSError', 'TransferTimeoutError',
    'UnsentClosedError', 'UnsentError', 'UnsentLocalProtocolError', 'UnsentRemoteProtocolError', 'UnsentTLSError',
    'UnsentTimeoutError', 'connection_pool',
]  # fmt: skip
