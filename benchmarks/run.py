"""Measures HTTP clients side by side and reports medians, spreads and ratios.

    python benchmarks/run.py --quick
    python benchmarks/run.py --clients lowhaio aiohttp --workloads get_32 get_32_tls --rounds 5

See README.md beside this file.
"""

import argparse
import contextlib
import json
import os
import platform
import random
import signal
import ssl
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import report
from environments import python_of
from servers import HOST, Server, nginx, nginx_version
from workloads import Workload, load_workloads

HERE = Path(__file__).parent
CLIENTS = {file.stem: file for file in sorted((HERE / 'clients').glob('*.txt'))}
LATENCY = Path('/dev/cpu_dma_latency')  # the kernel's, and holds for as long as the file is open
LOOPS = ('asyncio', 'uvloop')
QUICK_CLIENTS = ('floor_loop', 'floor_blocking', 'lowhaio')
QUICK_WORKLOADS = ('get_32', 'get_32_tls', 'download', 'download_tls')


def parse_arguments(clients: Sequence[str], workloads: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--clients', nargs='+', choices=clients, metavar='NAME', help=f'of {", ".join(clients)}')
    parser.add_argument('--workloads', nargs='+', choices=workloads, metavar='NAME', help=f'of {", ".join(workloads)}')
    parser.add_argument('--loop', nargs='+', choices=LOOPS, default=['asyncio'], help='event loops, default asyncio')
    parser.add_argument('--rounds', type=int, default=5, help='measurements of each client, default 5')
    parser.add_argument('--seconds', type=float, default=3, help='the least length of a measurement, default 3')
    parser.add_argument('--megabytes', type=int, default=512, help='the size of a large body, default 512')
    parser.add_argument('--out', type=Path, default=HERE / 'results', help='the folder for the report')
    parser.add_argument('--may-sleep', action='store_true', help='let idle cores sleep, as the system does otherwise')
    parser.add_argument(
        '--quick', action='store_true', help=f'{", ".join(QUICK_CLIENTS)} with {", ".join(QUICK_WORKLOADS)} only'
    )
    arguments = parser.parse_args()
    arguments.clients = arguments.clients or list(QUICK_CLIENTS if arguments.quick else clients)
    arguments.workloads = arguments.workloads or list(QUICK_WORKLOADS if arguments.quick else workloads)
    return arguments


@contextlib.contextmanager
def idle_cores(*, may_sleep: bool) -> Iterator[str]:
    """What idle cores do meanwhile. Unless they may sleep, they are kept awake if this user may ask the kernel for it.

    Who sends to a core that sleeps pays for waking it, on a virtual machine with as much as a whole request takes. That
    would be charged to each client that leaves the server time to fall asleep, and to none that is faster.
    """
    with contextlib.ExitStack() as held:
        awake = False
        if not may_sleep:
            with contextlib.suppress(OSError):
                latency = held.enter_context(LATENCY.open('wb', buffering=0))
                latency.write(struct.pack('=i', 0))
                awake = True
        yield 'kept awake' if awake else 'may sleep'


def describe_machine(server_cpu: int, client_cpu: int, idle: str) -> dict[str, Any]:
    processor = 'unknown'
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            processor = line.partition(':')[2].strip()
    return {
        'processor': processor,
        'cores': os.cpu_count(),
        'client_core': client_cpu,
        'server_core': server_cpu,
        'idle_cores': idle,
        'kernel': platform.release(),
        'python': platform.python_version(),
        'openssl': ssl.OPENSSL_VERSION,
        'nginx': nginx_version(),
    }


def measure(
    client: str, workload: Workload, loop: str, server: Server, cpu: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Runs one measurement in a process of its own. What goes wrong in it is part of its result."""
    megabytes: int = arguments.megabytes
    job = {
        'client': client,
        'operation': workload.operation,
        'host': HOST,
        'port': server.tls_port if workload.tls else server.plain_port,
        'path': workload.path,
        'authority': server.authority if workload.tls else None,
        'connections': workload.connections,
        'reuse': workload.reuse,
        'body_bytes': workload.body_bytes(megabytes),
        'upload_bytes': workload.upload_bytes(megabytes),
        'loop': loop,
        'seconds': arguments.seconds,
        'cpu': cpu,
    }
    command = [str(python_of(CLIENTS[client])), str(HERE / 'measure.py'), json.dumps(job)]
    limit = 120 + 10 * arguments.seconds
    try:
        run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {'failed': f'no result within {limit:.0f} seconds, not tried again', 'hanging': True}
    try:
        result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {'failed': f'exit status {run.returncode}: {(run.stderr.strip().splitlines() or [""])[-1]}'}
    return result


def main() -> None:
    all_workloads = load_workloads()
    arguments = parse_arguments(list(CLIENTS), list(all_workloads))
    server_cpu, *_, client_cpu = cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        sys.exit('Two cores are needed: one for the client and one for the server.')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('ended by a signal'))
    workloads = [all_workloads[name] for name in arguments.workloads]
    broken = {}
    for client in arguments.clients:
        print(f'Environment of {client}', file=sys.stderr)
        try:
            python_of(CLIENTS[client])
        except RuntimeError as error:
            broken[client] = {'failed': str(error)}
    hanging: dict[tuple[str, str, str], dict[str, Any]] = {}
    measurements: list[dict[str, Any]] = []
    with (
        nginx(workloads, arguments.megabytes, server_cpu) as server,
        idle_cores(may_sleep=arguments.may_sleep) as idle,
    ):
        for number in range(1, arguments.rounds + 1):
            for workload in workloads:
                turns = [(client, loop) for client in arguments.clients for loop in arguments.loop]
                random.Random(f'{number} {workload.name}').shuffle(turns)
                for client, loop in turns:
                    result = broken.get(client) or hanging.get((client, workload.name, loop))
                    if result is None:
                        result = measure(client, workload, loop, server, client_cpu, arguments)
                        if result.get('hanging'):
                            hanging[client, workload.name, loop] = result
                    measurement = {
                        'round': number,
                        'workload': workload.name,
                        'client': client,
                        'loop': loop,
                        **result,
                    }
                    measurements.append(measurement)
                    print(json.dumps(measurement), flush=True)
    results = {
        'date': datetime.now(UTC).isoformat(timespec='seconds'),
        'machine': describe_machine(server_cpu, client_cpu, idle),
        'rounds': arguments.rounds,
        'seconds': arguments.seconds,
        'megabytes': arguments.megabytes,
        'requirements': {client: CLIENTS[client].read_text().split('\n')[:-1] for client in arguments.clients},
        'measurements': measurements,
    }
    report.write(results, arguments.out)


if __name__ == '__main__':
    main()
