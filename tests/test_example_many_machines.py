"""The program `examples/many_machines.py`, run as a user runs it, on workers that are killed."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import psutil
import pytest

from support.fences import fences_of
from support.lines import lines_of_code

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / 'examples' / 'many_machines.py'
PAGE = ROOT / 'docs' / 'recipes' / 'many-machines.md'
ORIGIN_PARTITIONS, PARTITION_REQUESTS = 4, 8
"""As in the program."""
ORIGIN_LIMIT = ORIGIN_PARTITIONS * PARTITION_REQUESTS


class Server:
    """Answers every path, but for the first request to the one that is `held`.

    The first answers wait until as many requests are under way as the program makes at once.
    """

    def __init__(self, held: bytes, partitions: int = ORIGIN_PARTITIONS) -> None:
        self.held, self.holding = held, threading.Event()
        self.at_once = partitions * PARTITION_REQUESTS
        self.holder = 0
        """The client's port of the connection that waits."""
        self.requests: Counter[bytes] = Counter()
        """By method and path."""
        self.under_way = self.most_under_way = 0
        self.waiting: list[Connection] | None = []
        self.open: set[asyncio.Transport] = set()


class Connection(asyncio.Protocol):
    """One connection to the server."""

    def __init__(self, server: Server) -> None:
        self._server, self._received, self._answer = server, b'', b''

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.open.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.open.remove(self._transport)
        self._server.under_way -= bool(self._answer)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(b'\r\n\r\n'):
            return
        method, path, _ = self._received.split(b' ', 2)
        server, self._received, self._answer = self._server, b'', answer(path)
        server.requests[method + b' ' + path] += 1
        server.under_way += 1
        server.most_under_way = max(server.most_under_way, server.under_way)
        if path == server.held and not server.holding.is_set():
            server.holder = self._transport.get_extra_info('peername')[1]
            server.holding.set()
        elif server.waiting is None:
            self.finish()
        else:
            server.waiting.append(self)
            if len(server.waiting) == server.at_once:
                waiting, server.waiting = server.waiting, None
                for connection in waiting:
                    connection.finish()

    def finish(self) -> None:
        answered, self._answer = self._answer, b''
        self._server.under_way -= bool(answered)
        self._transport.write(answered)
        if answered == HALF:
            self._transport.close()


HALF = b'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf'


def answer(path: bytes) -> bytes:
    match path:
        case b'/missing':
            return b'HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n'
        case b'/half':
            return HALF
        case b'/hints':
            return b'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n/hints'
        case b'/chunked':
            return b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\n/chunked\r\n0\r\n\r\n'
        case b'/large':
            return b'HTTP/1.1 200 OK\r\ncontent-length: 1000001\r\n\r\n' + bytes(1_000_001)
        case _:
            return b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b' % (len(path), path)


@contextlib.contextmanager
def serving(server: Server) -> Iterator[str]:
    """The server's URL, while it runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    listening = loop.run_until_complete(loop.create_server(lambda: Connection(server), '127.0.0.1', backlog=100))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f'http://127.0.0.1:{listening.sockets[0].getsockname()[1]}'
    finally:
        listening.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for transport in server.open:  # workers keep connections for some seconds
            transport.abort()
        while server.open:
            loop.run_until_complete(asyncio.sleep(0))
        loop.close()


class Cluster(NamedTuple):
    """Two workers, in processes of their own as on other machines."""

    address: str
    process: psutil.Process

    def worker(self, server: Server) -> psutil.Process:
        """The one whose request the server holds."""
        assert server.holding.wait(60)
        (worker,) = [
            child
            for child in self.process.children(recursive=True)
            if any(connection.laddr.port == server.holder for connection in child.net_connections('tcp'))
        ]
        return worker

    def run(self, program: str, *arguments: str) -> str:
        """What a program prints that has a `client` of this cluster."""
        whole = f'import sys, distributed\nwith distributed.Client("{self.address}") as client:\n    {program}\n'
        command = [sys.executable, '-c', whole, *arguments]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


STARTED = """
import distributed, sys
with distributed.LocalCluster(n_workers=2, threads_per_worker=4, host='127.0.0.1', dashboard_address=None) as cluster:
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope='module')
def cluster() -> Iterator[Cluster]:
    """The workers that all tests use. Those that are killed are started again."""
    pipes: Any = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'stderr': subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, '-c', STARTED], text=True, **pipes) as process:
        try:
            assert process.stdout is not None
            yield Cluster(process.stdout.readline().strip(), psutil.Process(process.pid))
            process.communicate()
        finally:
            end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Leave no process behind, whatever has failed."""
    with contextlib.suppress(psutil.NoSuchProcess):  # as it should be
        for left in [*psutil.Process(process.pid).children(recursive=True), process]:
            left.kill()


@contextlib.contextmanager
def running(urls: list[str], folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The program, at work on a list."""
    (folder / 'urls').write_text('\n'.join(urls))
    (folder / 'out').mkdir(exist_ok=True)
    command = [sys.executable, '-W', 'error', str(PROGRAM), str(folder / 'urls'), str(folder / 'out'), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            end(process)


def outcomes(process: subprocess.Popen[str]) -> dict[str, int]:
    """What the last line of the program says."""
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    total, _, counts = output.splitlines()[-1].partition(' URLs: ')
    said: dict[str, int] = json.loads(counts.replace("'", '"'))
    assert sum(said.values()) == int(total)
    return said


def records(folder: Path, pattern: str) -> list[dict[str, Any]]:
    return [json.loads(line) for file in (folder / 'out').glob(pattern) for line in file.read_text().splitlines()]


def test_the_example_is_short() -> None:
    assert lines_of_code(PROGRAM.read_text()) < 130


def test_page_shows_what_the_example_does() -> None:
    """Every function and class of the page is that of the program."""
    code = ''.join(fence.code for fence in fences_of(PAGE, ROOT) if fence.language == 'python')
    shown, there = ast.parse(code), {ast.dump(node) for node in ast.parse(PROGRAM.read_text()).body}
    definitions = [
        node for node in shown.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    ]
    assert [node.name for node in definitions] == ['fetched', 'fetch_all', 'Fetcher', 'fetch']
    assert all(ast.dump(node) in there for node in definitions)


def test_worker_that_is_killed_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """What was done is not fetched again, neither then nor when the program is run again, on other workers."""
    server = Server(b'/4500')
    with serving(server) as at:
        ordinary = [f'{at}/{number}' for number in range(6000)]
        special = [f'{at}/{name}' for name in ('missing', 'half', 'hints', 'chunked', 'large')]
        urls = [*ordinary, *special, 'http://[', 'ftp://example.com/']
        with running([*urls, *urls[:10]], tmp_path, cluster.address) as process:
            worker = cluster.worker(server)
            done = {record['url'] for record in records(tmp_path, '*.jsonl')}.intersection(ordinary)
            worker.kill()
            said = outcomes(process)
        assert said == {'200': 6002, '404': 1, 'LimitError': 1, 'SentClosedError': 1, 'ValueError': 2}
        found = records(tmp_path, '*.jsonl')
        assert sorted(record['url'] for record in found) == sorted(urls)
        fine = [record for record in found if record['outcome'] == '200']
        assert all(record['body'] == record['url'].removeprefix(at) for record in fine)
        assert server.requests[b'GET /4500'] == 2
        # At least one partition was done, as the one that is held is begun only then.
        assert len(done) >= 1000
        assert {server.requests[f'GET {url.removeprefix(at)}'.encode()] for url in done} == {1}
        assert server.most_under_way == ORIGIN_LIMIT
        before = server.requests.copy()
        with running(urls, tmp_path) as process:
            assert outcomes(process) == said
        assert server.requests == before


def test_nothing_is_sent_twice_that_may_not_be(cluster: Cluster, tmp_path: Path) -> None:
    """Of the partitions that the killed worker had begun, what is known is in the files."""
    server = Server(b'/1500')
    with serving(server) as at:
        urls = [f'{at}/{number}' for number in range(5000)]
        with running(urls, tmp_path, cluster.address, 'POST') as process:
            cluster.worker(server).kill()
            said = outcomes(process)
        lost = said.pop('begun by another worker')
        assert said == ({'200': 5000 - lost} if lost < 5000 else {})
        assert lost in range(1000, 5001, 1000)
        assert set(server.requests.values()) == {1}
        done, begun = records(tmp_path, '*.jsonl'), records(tmp_path, '*.tmp')
        assert len(done) == 5000 - lost
        assert len({record['url'] for record in done + begun}) == len(done) + len(begun) < 5000
        # What the server got and the files do not tell is what was under way.
        assert 1 <= len(server.requests) - len(done) - len(begun) <= ORIGIN_LIMIT


def test_worker_that_is_closed_hands_its_partitions_over(cluster: Cluster, tmp_path: Path) -> None:
    """Before that, look at what the dashboard shows: the partitions by their name, and the URLs of each worker."""
    server = Server(b'/1500', partitions=2)
    with serving(server) as at:
        urls = [f'{at}/{number}' for number in range(2000)]
        with running(urls, tmp_path, cluster.address) as process:
            worker = cluster.worker(server)
            # The number of URLs arrives there with a heartbeat.
            program = f"""import os, time
    (address,) = [address for address, pid in client.run(os.getpid).items() if pid == {worker.pid}]
    while not client.scheduler_info(n_workers=-1)['workers'][address]['metrics'].get('urls'):
        time.sleep(0.1)
    print('fetch' in client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.task_prefixes)))
    close = lambda dask_worker: dask_worker.loop.add_callback(dask_worker.close, nanny=False)
    client.run(close, workers=[address])"""
            assert cluster.run(program) == 'True\n'
            assert outcomes(process) == {'200': 2000}
        assert server.requests[b'GET /1500'] == 2
