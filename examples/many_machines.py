"""Fetch a list of URLs on many machines, with Dask.

    many_machines.py URLS FOLDER                            two workers on this machine
    many_machines.py URLS FOLDER tcp://10.0.0.1:8786        all workers that this scheduler has
    many_machines.py URLS FOLDER tcp://10.0.0.1:8786 POST   the same, with another method than GET

URLS is a file with a URL a line. FOLDER is one that all machines share: it gets a file for each partition of the list,
with a line of JSON for each URL. To go on where it was stopped, run it again: partitions that have their file are not
fetched again.

POST sends each URL once at most. What a worker had begun when it died is not begun again: there is a `.begun` file for
it, and the `.tmp` file beside it holds what is known.
"""

import asyncio
import json
import re
import ssl
import sys
import threading
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import distributed

import lowhaio
import lowhaio_buffered
import lowhaio_chunked
import lowhaio_dict
import lowhaio_request
import lowhaio_resolve
import lowhaio_retry
from lowhaio_nonssl import NonSSLContext

PARTITION_URLS = 1000  # what is fetched again if a worker dies, and what shares the cost of a task
PARTITION_REQUESTS = 8  # requests of a partition at once
ORIGIN_PARTITIONS = 4  # of an origin at once, over all workers
MAX_PARTITIONS = 1000  # given to Dask at once: more than all workers together can take
URL_SECONDS = 60
MAX_BODY_BYTES = 1_000_000
SETTINGS: Any = {'max_wait_connection_seconds': 20, 'max_requests_per_connection': 1000, 'max_idle_seconds': 5}
SETTINGS |= {'max_wait_send_recv_seconds': 10, 'chunk_bytes': 65536}
HANDED_IN: Any = {'collect': lowhaio_dict.collect, 'serialize': lowhaio_dict.serialize}
HANDED_IN |= {'encode': lowhaio_chunked.encode, 'decode': lowhaio_chunked.decode}


async def fetched(call: Any, method: str, url: str) -> dict[str, Any]:
    """What became of a URL, as data. One that fails does not take the others along."""
    try:
        async with asyncio.timeout(URL_SECONDS), call(method.encode(), url, {}, None) as (code, _, content):
            body = await lowhaio_buffered.buffered(content, MAX_BODY_BYTES)
    except Exception as error:
        return {'url': url, 'outcome': type(error).__name__, 'error': str(error)}
    kept = {'body': body.decode('latin-1')} if code.startswith(b'2') else {}  # every byte, as a character
    return {'url': url, 'outcome': code.decode(), **kept}


async def fetch_all(call: Any, method: str, urls: list[str], write: Callable[[dict[str, Any]], object]) -> None:
    """Fetch the URLs of a partition, a few at once: all workers share one iterator."""

    async def work() -> None:
        for url in shared:
            write(await fetched(call, method, url))

    shared = iter(urls)
    async with asyncio.TaskGroup() as group:
        for _ in range(PARTITION_REQUESTS):
            group.create_task(work())


class Fetcher(distributed.WorkerPlugin):  # type: ignore[misc]  # distributed has no types
    """A thread with an event loop and a pool, for the whole life of a worker."""

    name = 'lowhaio'
    idempotent = True
    urls = 0

    def setup(self, worker: Any) -> None:
        """Start the thread, and enter the pool."""
        self._loop, self._stack = asyncio.new_event_loop(), AsyncExitStack()
        self._thread = threading.Thread(target=self._loop.run_forever, name='lowhaio', daemon=True)
        self._thread.start()
        pool = lowhaio.connection_pool(max=PARTITION_REQUESTS * worker.state.nthreads, **SETTINGS)
        self.run(self._stack.enter_async_context(pool))
        contexts: Any = {'https': ssl.create_default_context(), 'http': NonSSLContext()}
        resolve = lowhaio_resolve.cached(max_age_seconds=30)
        self.call = lowhaio_retry.retried(lowhaio_request.exchange(pool, resolve=resolve, **contexts, **HANDED_IN))
        worker.metrics['urls'] = lambda _: self.urls  # a column of the dashboard's page "Workers"

    async def teardown(self, worker: Any) -> None:
        """Leave the pool, and end the thread."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._leave(), self._loop))
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()

    async def _leave(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        # Only then the pool: to a task that still runs, its end would be the failure of all URLs that are left.
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stack.aclose()
        await asyncio.get_running_loop().shutdown_default_executor()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run it in the loop, and wait for it in another thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


def fetch(name: str, method: str, urls: list[str], folder: str) -> Counter[str]:
    """Fetch a partition, on a worker. How many URLs had which outcome."""

    def write(record: dict[str, Any]) -> None:
        file.write(json.dumps(record) + '\n')
        fetcher.urls += 1

    done, fetcher = Path(folder, f'{name}.jsonl'), distributed.get_worker().plugins[Fetcher.name]
    if not done.exists():
        if method.encode() not in lowhaio_retry.IDEMPOTENT:
            try:  # only one can make this file, whatever Dask believes of the others
                done.with_suffix('.begun').touch(exist_ok=False)
            except FileExistsError:
                return Counter({'begun by another worker': len(urls)})
        part = done.with_suffix(f'.{uuid.uuid4().hex}.tmp')
        with part.open('x', buffering=1) as file:
            fetcher.run(fetch_all(fetcher.call, method, urls, write))
        part.replace(done)  # one file, if it was fetched twice
    with done.open() as lines:
        return Counter(json.loads(line)['outcome'] for line in lines)


def run(client: Any, urls: list[str], folder: str, method: str = 'GET') -> Iterator[Counter[str]]:
    """Yield the outcomes of one partition after the other.

    Of an origin, `ORIGIN_PARTITIONS` are under way at once, on whichever workers: with `PARTITION_REQUESTS` each, that
    is the limit for the origin.
    """
    client.register_plugin(Fetcher())
    completed = distributed.as_completed(loop=client.loop, with_results=True, raise_errors=False)
    running: dict[Any, tuple[Iterator[list[str]], int]] = {}
    lanes: deque[Iterator[list[str]]] = deque()
    origins: defaultdict[Any, list[str]] = defaultdict(list)
    for url in dict.fromkeys(urls):
        origins[tuple(re.split('[/?#]', url.lower(), maxsplit=3)[:3])].append(url)  # with its port, if it has one
    for of_origin in origins.values():
        starts = range(0, len(of_origin), PARTITION_URLS)
        lanes.extend([iter([of_origin[at : at + PARTITION_URLS] for at in starts])] * ORIGIN_PARTITIONS)

    def start_one() -> None:
        while lanes:
            lane = lanes.popleft()
            if part := next(lane, None):
                name = uuid.uuid5(uuid.NAMESPACE_URL, '\n'.join([method, *part])).hex
                future = client.submit(fetch, name, method, part, folder, key=('fetch', name), retries=0)
                running[future.key] = lane, len(part)
                completed.add(future)
                return

    for _ in range(MAX_PARTITIONS):
        start_one()
    for future, result in completed:
        lane, size = running.pop(future.key)
        lanes.append(lane)
        start_one()
        # An error is one of the partition as a whole: a full disk, or `KilledWorker`, if several workers died of it.
        yield result if future.status == 'finished' else Counter({f'not fetched: {result[1]!r}': size})


def main(urls: str, folder: str, scheduler: str = '', method: str = 'GET') -> None:
    """Print the outcomes so far after each partition."""
    here: Any = {'n_workers': 2, 'threads_per_worker': 4, 'host': '127.0.0.1', 'dashboard_address': '127.0.0.1:0'}
    outcomes: Counter[str] = Counter()
    with distributed.Client(scheduler) if scheduler else distributed.Client(**here) as client:
        print(f'watch {client.dashboard_link}', flush=True)
        for more in run(client, Path(urls).read_text().split(), str(Path(folder).resolve()), method):
            outcomes += more
            print(f'{outcomes.total()} URLs: {dict(sorted(outcomes.items()))}', flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
