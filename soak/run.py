"""The long forms of the tests of load, one after the other; `make soak` runs this.

    make soak ARGS='--seconds 600 --requests 10000000 --restarts 100 --connections 5000'
    make soak ARGS='--loop uvloop --seconds 0'

What is looked at, `tests/support/load.py` says. nginx has to be installed. All traffic is on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

import uvloop

from support import load, moody, real
from support.certificates import Authority

MIB = 1 << 20


async def main(arguments: argparse.Namespace, folder: Path) -> None:
    """Run each part that is not turned off by a 0."""
    load.allow_descriptors(2 * arguments.connections + 1000)
    authority = Authority()
    files = authority.write(folder)
    print(f'{arguments.loop}, --seed {arguments.seed}', flush=True)
    if arguments.seconds:
        with moody.serving(files) as ports:
            tally = await load.storm(arguments.seconds, ports, authority.client(), seed=arguments.seed)
        outcomes = ', '.join(f'{name} {count:,}' for name, count in tally.outcomes.most_common())
        print(f'storm: {arguments.seconds:g} s, {tally.requests:,} requests by 200 tasks, then the pool was whole')
        print(f'  {outcomes}', flush=True)
    with real.nginx(files, folder) as nginx:
        if arguments.connections:
            await load.crowd(nginx.http_port, arguments.connections)
            print(f'crowd: {arguments.connections:,} connections at once, twice', flush=True)
        if arguments.requests:
            begin = time.monotonic()
            usages = await load.stream(nginx.http_port, arguments.requests)
            seconds = time.monotonic() - begin
            print(f'stream: {arguments.requests:,} requests in {seconds:.0f} s; after each tenth')
            print('  descriptors', *(usage.descriptors for usage in usages))
            print('  blocks', *(usage.blocks for usage in usages))
            print('  resident MiB', *(f'{usage.resident / MIB:.1f}' for usage in usages), flush=True)
        if arguments.restarts:
            tally = await load.restarts(nginx, folder, 5000 * arguments.restarts, arguments.restarts)
            outcomes = ', '.join(f'{name} {count:,}' for name, count in tally.outcomes.most_common())
            print(f'restarts: {arguments.restarts} of nginx', f'  {outcomes}', sep='\n', flush=True)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=60, help='of cancellations and timeouts')
    parser.add_argument('--connections', type=int, default=2000, help='at once')
    parser.add_argument('--requests', type=int, default=1_000_000, help='while memory and descriptors are looked at')
    parser.add_argument('--restarts', type=int, default=20, help='of the server, each among 5,000 requests')
    parser.add_argument('--loop', choices=['asyncio', 'uvloop'], default='asyncio')
    parser.add_argument('--seed', type=int, default=random.SystemRandom().randrange(1 << 32))
    given = parser.parse_args()
    factory = asyncio.SelectorEventLoop if given.loop == 'asyncio' else uvloop.new_event_loop
    with tempfile.TemporaryDirectory() as path, asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(given, Path(path)))
