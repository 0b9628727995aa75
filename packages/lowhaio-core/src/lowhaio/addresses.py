"""What one call of `Pool.connection` asks for: addresses to connect to, and the keys that idle connections fit by."""

import itertools
import socket
from collections import deque
from collections.abc import Iterable, MutableMapping
from typing import Any, Protocol

Address = tuple[int, Any]
"""Address family, and the address as `socket.connect` takes it."""

_STREAM = socket.SOCK_STREAM
_INTERNET = (socket.AF_INET, socket.AF_INET6)

AddressInfo = tuple[Any, Any, Any, Any, Any]
"""One entry of what `loop.getaddrinfo` returns: family, type, protocol, canonical name, address."""

Asked = tuple[str | tuple[AddressInfo, ...], int, str | None]
"""Address or addresses, port, `server_hostname`."""

Key = tuple[object, object, int, str | None]
"""Host, port, identity of the `ssl_context`, `server_hostname`."""


class WrapsSocket(Protocol):
    """What the core asks of `ssl_context`; `ssl.SSLContext` has it."""

    def wrap_socket(
        self,
        sock: socket.socket,
        *,
        do_handshake_on_connect: bool,
        suppress_ragged_eofs: bool,
        server_hostname: str | None,
    ) -> socket.socket:
        """A socket that has `do_handshake` and `unwrap`, and takes over the descriptor of `sock`."""


class Origin:
    """The idle connections that share a key. The context is kept alive, as its identity is part of the key."""

    __slots__ = ('__weakref__', 'context', 'idle')

    def __init__(self, context: WrapsSocket) -> None:
        self.context = context
        self.idle: list[Any] = []


class Target:
    """What one call of `Pool.connection` asks for."""

    __slots__ = ('asked', 'context', 'entries', 'origins', 'port', 'server_hostname')

    def __init__(self, asked: Asked, context: WrapsSocket, known: MutableMapping[Key, Origin]) -> None:
        self.asked = asked
        self.context = context
        self.entries, self.port, self.server_hostname = entries, port, server_hostname = asked
        if not isinstance(entries, str) and not all(map(_is_address_info, entries)):
            raise not_addresses(entries)
        hosts = (entries,) if isinstance(entries, str) else [_host(i[0], i[4]) for i in entries if i[1] == _STREAM]
        self.origins = [known.setdefault((host, port, id(context), server_hostname), Origin(context)) for host in hosts]

    def addresses(self) -> dict[Address, Origin]:
        """What to connect to, with the key of each; refused here if it can't be connected to at all."""
        if not hasattr(self.context, 'wrap_socket'):
            raise TypeError(
                f'ssl_context must have wrap_socket, and {self.context!r} has not: pass ssl.create_default_context(), '
                f'or lowhaio_nonssl.NonSSLContext() for a connection without encryption'
            )
        if self.server_hostname is None and getattr(self.context, 'check_hostname', False):
            raise ValueError('ssl_context checks host names: pass server_hostname, the name that was resolved')
        if self.server_hostname is not None and not _is_host_name(self.server_hostname):
            raise ValueError(f'server_hostname is {self.server_hostname!r}, which is not a host name')
        if isinstance(self.entries, str):
            return {numeric_address(self.entries, self.port): self.origins[0]}
        streams = [info for info in self.entries if info[1] == _STREAM]
        if not streams:
            raise ValueError(f'ip_address has no address for a stream socket: {self.entries!r}')
        addresses: dict[Address, Origin] = {}
        for (family, _, _, _, sockaddr), origin in zip(streams, self.origins, strict=True):
            if family in _INTERNET:
                numeric_address(sockaddr[0], self.port)
                addresses.setdefault((family, (sockaddr[0], self.port, *sockaddr[2:])), origin)
            else:
                addresses.setdefault((family, sockaddr), origin)
        return addresses


def not_addresses(value: object) -> TypeError:
    """The error of a caller who passed something else."""
    return TypeError(f'ip_address must be what loop.getaddrinfo returned, or one IP address as a str, not {value!r}')


def _is_address_info(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 5


def _is_host_name(name: str) -> bool:
    """Whether `ssl` can take it, which finds out only after it has taken the socket."""
    try:
        name.encode('idna')
    except (AttributeError, UnicodeError):
        return False
    return bool(name) and not name.startswith('.') and '\0' not in name


def _host(family: int, sockaddr: Any) -> object:
    """What tells one address from another, whichever way it was given."""
    if family not in _INTERNET:
        return family, sockaddr
    if len(sockaddr) == 4 and sockaddr[3]:
        return sockaddr[0], sockaddr[3]
    return sockaddr[0]


def numeric_address(ip_address: str, port: int) -> Address:
    """One IP address as text. A host name is refused: resolving it is up to the caller."""
    if port not in range(65536):
        raise ValueError(f'port must be from 0 to 65535, not {port!r}')
    host, _, scope = ip_address.partition('%')
    try:
        if ':' not in host:
            socket.inet_pton(socket.AF_INET, ip_address)
            return socket.AF_INET, (ip_address, port)
        socket.inet_pton(socket.AF_INET6, host)
        scope_id = int(scope or 0) if scope.isdecimal() or not scope else socket.if_nametoindex(scope)
    except (OSError, ValueError):
        raise ValueError(
            f'ip_address is {ip_address!r}, which is not an IP address: resolve host names with loop.getaddrinfo'
        ) from None
    return socket.AF_INET6, (host, port, 0, scope_id)


def alternated(addresses: Iterable[Address]) -> deque[Address]:
    """In order, but with the families taking turns (RFC 8305 section 4)."""
    by_family: dict[int, list[Address]] = {}
    for address in addresses:
        by_family.setdefault(address[0], []).append(address)
    turns = itertools.zip_longest(*by_family.values())
    return deque(address for turn in turns for address in turn if address is not None)
