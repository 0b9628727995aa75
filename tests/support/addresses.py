"""Several addresses with one port, as a host name with several addresses has: some answer and some do not.

    with loopback('silent', 'refusing', 'accepting') as host:
        async with pool.connection(host.addresses, host.port, NonSSLContext()) as connection: ...

`accepting` completes every connection and says nothing; `refusing` refuses, and `silent` never answers. With `v6` in
front, as in `v6 silent`, the address is one of the family AF_INET6, for the same machine.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

from .scripted import AddressInfo


def port(address: AddressInfo) -> int:
    """The port of a TCP address."""
    name = address[4]
    assert not isinstance(name, str), f'{name} has no port'
    return name[1]


@dataclass
class Loopback:
    """The port, what `getaddrinfo` would say, and the listening sockets."""

    port: int = 0
    addresses: list[AddressInfo] = field(default_factory=list)
    listeners: list[socket.socket] = field(default_factory=list)


@contextlib.contextmanager
def loopback(*kinds: str) -> Iterator[Loopback]:
    """One address for each kind, in order."""
    host = Loopback()
    with contextlib.ExitStack() as stack:
        for number, kind in enumerate(kinds, 1):
            name = f'127.0.0.{number}'
            listener = stack.enter_context(socket.socket())
            listener.bind((name, host.port))
            host.port = listener.getsockname()[1]
            if kind.endswith('accepting'):
                listener.listen()
            elif kind.endswith('silent'):
                listener.listen(0)
                stack.enter_context(socket.create_connection((name, host.port)))
            host.listeners.append(listener)
            host.addresses.append(_entry(name, host.port, v6=kind.startswith('v6 ')))
        yield host


def _entry(name: str, port: int, *, v6: bool) -> AddressInfo:
    if v6:  # RFC 4291 section 2.5.5.2: an IPv4 address as one of IPv6
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, '', (f'::ffff:{name}', port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, '', (name, port))
