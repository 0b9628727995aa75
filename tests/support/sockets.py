"""What this process holds open towards a server, as the kernel sees it.

A pool that forgot a socket, and still closes it when it is left, gives itself away here before that: `clients_of(port)`
counts the client's ends of the connections to a port, those that are still being opened included.
"""

from __future__ import annotations

from pathlib import Path

from . import leaks


def clients_of(*ports: int) -> int:
    """How many of this process's TCP sockets are connected, or connecting, to one of the ports."""
    suffixes = tuple(f':{port:04X}' for port in ports)
    inodes = set()
    for table in ('/proc/net/tcp', '/proc/net/tcp6'):
        for line in Path(table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[2].endswith(suffixes):
                inodes.add(f'socket:[{columns[9]}]')
    return sum(target in inodes for target in leaks.descriptors().values())
