"""What this process holds open towards a server, as the kernel sees it.

A pool that forgot a socket, and still closes it when it is left, gives itself away here before that: `clients_of(port)`
counts the client's ends of the connections to a port, those that are still being opened included.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from . import leaks


def clients_of(*ports: int) -> int:
    """How many of this process's TCP sockets are connected, or connecting, to one of the ports."""
    found, connecting = 0, []
    for fd, target in leaks.descriptors().items():
        if target.startswith('socket:'):
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as copy:  # a server's end may be closed
                if copy.family in (socket.AF_INET, socket.AF_INET6):
                    if _state(copy) == _SYN_SENT:
                        connecting.append(target)
                    else:
                        found += copy.getpeername()[1] in ports
    return found + len(_in_state_syn_sent(ports).intersection(connecting) if connecting else ())


_SYN_SENT = 2


def _state(sock: socket.socket) -> int:
    """The state of a TCP socket, by the kernel's number: the first byte of what it tells about one."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def _in_state_syn_sent(ports: tuple[int, ...]) -> set[str]:
    """Sockets that have no peer yet: only the kernel's table, which is long, says to whom they are connecting."""
    suffixes = tuple(f':{port:04X}' for port in ports)
    rows = [
        line.split()
        for table in ('/proc/net/tcp', '/proc/net/tcp6')
        for line in Path(table).read_text().splitlines()[1:]
    ]
    return {f'socket:[{row[9]}]' for row in rows if row[2].endswith(suffixes) and row[3] == '02'}
