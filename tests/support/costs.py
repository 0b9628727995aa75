"""What a request costs, in counts that do not depend on the clock or on the machine.

`tests/costs.json` holds them for each Python, as each has instructions of its own, and `tests/test_costs.py` compares.
`make costs` renews those of the Python that it runs on.
"""

from __future__ import annotations

import asyncio
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from lowhaio_nonssl import NonSSLContext

from .pools import REQUEST, exchanged, small_pool
from .scripted import Peer, Script, scripted
from .stepping import NEVER, cancelled_at

FILE = Path(__file__).parent.parent / 'costs.json'
PYTHON = '.'.join(platform.python_version_tuple()[:2])
TOLERANCE = 1.02
"""What may be added before a test fails."""

_RUNS = 4  # the first opens the connection, the next fill what is remembered

Costs = dict[str, int]

_POST = b'POST /items HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\ncontent-type: application/json\r\n'

KINDS = {
    'a response with 1 headers': (REQUEST, 1),
    'a response with 5 headers': (REQUEST, 5),
    'a response with 20 headers': (REQUEST, 20),
    'a request with a body': (_POST + b'content-length: 8\r\n\r\n{"a": 1}', 5),
    'a request with a body in chunks': (_POST + b'transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n', 5),
}
"""What is sent at once, and how many headers the response has."""


async def of_an_exchange(request: bytes, headers: int) -> Costs:
    """Of one on a connection that is used again, whose response has so many headers and five bytes of body."""
    plain = NonSSLContext()
    costs: Costs = {}
    async with scripted(_answering(len(request), headers)) as server, small_pool() as pool:

        async def exchange() -> None:
            async with pool.connection(server.address, server.port, plain) as connection:
                await exchanged(pool, connection, request)

        for _ in range(_RUNS):
            costs = await _counted(exchange)
        costs['suspensions of the task'] = (await cancelled_at(exchange, NEVER)).suspensions
    return costs


def _answering(size: int, headers: int) -> Script:
    fields = b''.join(b'x-header-%d: %d\r\n' % (number, number) for number in range(headers - 1))

    def answer(peer: Peer) -> None:
        for _ in range(_RUNS + 1):
            peer.recv_exactly(size)
            peer.send(b'HTTP/1.1 200 OK\r\n' + fields + b'content-length: 5\r\n\r\nhello')

    return answer


async def _counted(exchange: Callable[[], Any]) -> Costs:
    calls = instructions = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal calls, instructions
        if frame.f_globals.get('__package__') != 'lowhaio':
            return None
        if event == 'call':
            calls += 1
            frame.f_trace_lines = False
            frame.f_trace_opcodes = True
        elif event == 'opcode':
            instructions += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        await exchange()
    finally:
        sys.settrace(before)
    return {'calls of functions of the core': calls, 'bytecode instructions of the core': instructions}


async def of_all() -> dict[str, Costs]:
    """Of each kind of request that is compared."""
    return {kind: await of_an_exchange(request, headers) for kind, (request, headers) in KINDS.items()}


def committed() -> dict[str, dict[str, Costs]]:
    """By Python, and by kind of request."""
    known: dict[str, dict[str, Costs]] = json.loads(FILE.read_text())
    return known


def main() -> None:
    """Write those of this Python."""
    known = committed() | {PYTHON: asyncio.run(of_all())}
    FILE.write_text(json.dumps(dict(sorted(known.items())), indent=2) + '\n')


if __name__ == '__main__':
    main()
