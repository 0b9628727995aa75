"""Runs one measurement in this process and prints it as one line of JSON.

    python measure.py '{"client": "aiohttp", ...}'

`run.py` calls it with the Python of the client's own environment, so it imports nothing but the standard library,
the client's file, and uvloop where asked to.
"""

import ast
import asyncio
import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from job import AsyncOperations, Drive, Job, NotOffered, Operations, ThreadOperations

IMPORTS_TIMED = 10
TIME_IMPORT = """
import asyncio, ssl, time
wall, cpu = time.perf_counter(), time.process_time()
import {modules}
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


class Tally:
    def __init__(self, job: Job) -> None:
        self._body_bytes = job.body_bytes
        self.count = 0
        self.errors = 0
        self.first_error = ''

    def note(self, status: int, length: int) -> None:
        if status == 200 and length == self._body_bytes:
            self.count += 1
        else:
            self.errors += 1
            self.first_error = self.first_error or (
                f'status {status} and {length} bytes of body instead of 200 and {self._body_bytes}'
            )


class Window:
    """Time, processor time and memory between the end of the warm-up and the last response."""

    def __init__(self, memory_before: int) -> None:
        self._connections = count_sockets()
        self._memory = resident_bytes() - memory_before
        self._wall = time.perf_counter()
        self._usage = resource.getrusage(resource.RUSAGE_SELF)

    def close(self, tally: Tally) -> dict[str, Any]:
        seconds = time.perf_counter() - self._wall
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            'count': tally.count,
            'errors': tally.errors,
            'first_error': tally.first_error,
            'seconds': seconds,
            'cpu_user': usage.ru_utime - self._usage.ru_utime,
            'cpu_sys': usage.ru_stime - self._usage.ru_stime,
            'peak_rss': peak_bytes(),
            'idle_connections': self._connections,
            'idle_bytes': self._memory,
        }


def resident_bytes() -> int:
    """The resident memory, after everything that is free has been given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()


def peak_bytes() -> int:
    """The highest resident memory so far. What `getrusage` says would include the parent's at the fork."""
    status = Path('/proc/self/status').read_text()
    return int(status.partition('VmHWM:')[2].split()[0]) * 1024


def count_sockets() -> int:
    """The open TCP connections of this process."""
    inodes = set()
    for descriptor in Path('/proc/self/fd').iterdir():
        with contextlib.suppress(FileNotFoundError):
            inodes.add(str(descriptor.readlink()))
    lines = Path('/proc/net/tcp').read_text().splitlines()[1:]
    return sum(f'socket:[{line.split()[9]}]' in inodes for line in lines)


def choose(operations: Operations[Any], job: Job) -> Callable[[], Any]:
    exchange: Callable[[], Any] | None = getattr(operations, job.operation)
    if exchange is None:
        raise NotOffered(f'no {job.operation}')
    return exchange


async def run_async(client: Callable[[Job], contextlib.AbstractAsyncContextManager[AsyncOperations]], job: Job) -> Any:
    async def work(until: float, tally: Tally) -> None:
        while True:
            tally.note(*await exchange())
            if time.perf_counter() >= until:
                return

    async def work_at_once(seconds: float) -> Tally:
        tally = Tally(job)
        until = time.perf_counter() + seconds
        await asyncio.gather(*[work(until, tally) for _ in range(job.connections)])
        return tally

    memory_before = resident_bytes()
    async with client(job) as operations:
        exchange = choose(operations, job)
        await work_at_once(warm_up_seconds(job))
        window = Window(memory_before)
        return window.close(await work_at_once(job.seconds))


def run_threads(client: Callable[[Job], contextlib.AbstractContextManager[ThreadOperations]], job: Job) -> Any:
    def work(until: float, tally: Tally, failures: list[Exception]) -> None:
        try:
            while True:
                tally.note(*exchange())
                if time.perf_counter() >= until:
                    return
        except Exception as error:
            failures.append(error)

    def work_at_once(seconds: float) -> Tally:
        tally = Tally(job)
        failures: list[Exception] = []
        arguments = (time.perf_counter() + seconds, tally, failures)
        threads = [threading.Thread(target=work, args=arguments) for _ in range(job.connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return tally

    memory_before = resident_bytes()
    with client(job) as operations:
        exchange = choose(operations, job)
        work_at_once(warm_up_seconds(job))
        window = Window(memory_before)
        return window.close(work_at_once(job.seconds))


def run_multi(client: Callable[[Job], contextlib.AbstractContextManager[Drive]], job: Job) -> Any:
    def work_at_once(seconds: float) -> Tally:
        tally = Tally(job)
        until = time.perf_counter() + seconds
        started = 0

        def more() -> bool:
            nonlocal started
            started += 1
            return started <= job.connections or time.perf_counter() < until

        drive(more, tally.note)
        return tally

    memory_before = resident_bytes()
    with client(job) as drive:
        work_at_once(warm_up_seconds(job))
        window = Window(memory_before)
        return window.close(work_at_once(job.seconds))


def run_imports(file: Path) -> Any:
    """Times the imports of the client's file, each in a fresh Python that has asyncio and ssl already."""
    names: set[str] = set()
    for statement in ast.parse(file.read_text()).body:
        if isinstance(statement, ast.Import):
            names.update(alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            names.add(statement.module)
    modules = sorted(
        name for name in names if name.partition('.')[0] not in sys.stdlib_module_names | {'job', 'clients'}
    )
    if not modules:
        raise NotOffered('imports the standard library only')
    code = TIME_IMPORT.format(modules=', '.join(modules))

    def once() -> tuple[float, float]:
        run = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True)
        wall, cpu = run.stdout.split()
        return float(wall), float(cpu)

    once()
    times = [once() for _ in range(IMPORTS_TIMED)]
    return {
        'count': IMPORTS_TIMED,
        'errors': 0,
        'first_error': '',
        'seconds': sum(wall for wall, _ in times),
        'cpu_user': sum(cpu for _, cpu in times),
        'cpu_sys': 0.0,
        'peak_rss': 0,
        'idle_connections': 0,
        'idle_bytes': 0,
    }


def warm_up_seconds(job: Job) -> float:
    """Long enough to open every connection, which the first exchange of each worker does."""
    return min(1.0, job.seconds / 4)


def measure(job: Job) -> Any:
    os.sched_setaffinity(0, {job.cpu})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if job.operation == 'import':
        return run_imports(Path(__file__).with_name('clients') / f'{job.client}.py')
    module = importlib.import_module(f'clients.{job.client}')
    if job.loop == 'uvloop' and not hasattr(module, 'async_client'):
        raise NotOffered('runs on no event loop of asyncio')
    if hasattr(module, 'thread_client'):
        return run_threads(module.thread_client, job)
    if hasattr(module, 'multi_client'):
        return run_multi(module.multi_client, job)
    loop_factory = importlib.import_module('uvloop').new_event_loop if job.loop == 'uvloop' else None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(run_async(module.async_client, job))


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    try:
        result = measure(job)
    except NotOffered as reason:
        result = {'not_offered': str(reason)}
    except Exception as error:
        result = {'failed': f'{type(error).__name__}: {error}'}
    else:
        if result['errors']:
            result['failed'] = f'{result["errors"]} responses were wrong, the first had {result["first_error"]}'
    print(json.dumps(result))


if __name__ == '__main__':
    main()
