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
                if copy.family in (socket.AF_INET, socket.AF_INET6) and not _listens(copy):
                    connecting.append(target)
                    found += copy.getpeername()[1] in ports
                    connecting.pop()
    return found + len(_in_state_syn_sent(ports).intersection(connecting) if connecting else ())


def _listens(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _in_state_syn_sent(ports: tuple[int, ...]) -> set[str]:
    """Sockets that have no peer yet: only the kernel's table, which is long, says to whom they are connecting."""
    suffixes = tuple(f':{port:04X}' for port in ports)
    rows = [
        line.split()
        for table in ('/proc/net/tcp', '/proc/net/tcp6')
        for line in Path(table).read_text().splitlines()[1:]
    ]
    return {f'socket:[{row[9]}]' for row in rows if row[2].endswith(suffixes) and row[3] == '02'}
