"""The fuzzer, for a few seconds: the committed corpus, the vectors, mutations of both, and what hypothesis makes up.

`make fuzz` goes on for as long as one likes. `support.fuzzing` says what is checked, `support.oracle` how the right
verdict is found without the core.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lowhaio
import lowhaio_chunked
import lowhaio_gzip
from support.fuzzing import (
    LIMIT,
    METHODS,
    MOST_BYTES,
    TOKENS,
    Case,
    Finding,
    Fuzzer,
    Player,
    corpus,
    player,
    receive,
    save,
)
from support.loops import AsyncioLoop
from support.oracle import Verdict, judged
from support.vectors import OK, TOPICS, Vector

FOLDER = Path(__file__).parent.parent / 'fuzz' / 'corpus'
CORPUS = corpus(FOLDER)
VECTORS = [vector for topic in TOPICS.values() for vector in topic]
SHORT = [vector for vector in VECTORS if len(vector.response) < MOST_BYTES]
MUTATIONS = 500
KIB = 1024


@pytest.mark.parametrize('topic', TOPICS)
def test_oracle_agrees_with_the_vectors(topic: str) -> None:
    """It was written without them, and they without it."""
    for vector in TOPICS[topic]:
        method = vector.request.split(b' ')[0]
        assert judged(method, vector.response + vector.surplus) == verdict_of(vector), vector.name


def verdict_of(vector: Vector) -> Verdict:
    if vector.error is not None:
        headers = judged(vector.request.split(b' ')[0], vector.response).headers  # those before the error
        return Verdict(headers=headers, error=vector.error)
    return Verdict(vector.codes, vector.headers, vector.body, reusable=vector.reusable and not vector.surplus)


def test_corpus_is_small_and_survives_a_file() -> None:
    """A few dozen files of less than a kilobyte each, which say the same after reading and writing."""
    files = [*FOLDER.glob('*.http')]
    assert 36 <= len(files) <= 200
    for file in files:
        assert file.stat().st_size < 4 * KIB
        assert Case.parse(file.read_bytes()).dump() == file.read_bytes()


def test_findings_are_saved(tmp_path: Path) -> None:
    """Under a name that depends on the content alone."""
    case = Case(b'GET', b'\n\0', (1, 2))
    assert save(case, tmp_path) == save(case, tmp_path)
    assert corpus(tmp_path) == [case]


async def test_corpus() -> None:
    """Each response as the answer to each method: in its own pieces, and by the byte."""
    async with player(counts=lines_are_counted()) as playing:
        for case, method in itertools.product(CORPUS, METHODS):
            await playing.check(Case(method, case.response, case.sizes or (1,)))


async def test_mutations() -> None:
    """The same ones every time, so what fails once fails again; others in each of the loops."""
    seeds = CORPUS + [Case(vector.request.split(b' ')[0], vector.response + vector.surplus) for vector in SHORT]
    async with player(counts=lines_are_counted()) as playing:
        fuzzer = Fuzzer(playing, seeds, seed=lines_are_counted())
        for _ in range(MUTATIONS):
            await fuzzer.step()
        assert playing.executions >= MUTATIONS


def lines_are_counted() -> bool:
    """In one of the loops: the client runs the same ones in the other, and to count them is most of the work."""
    return isinstance(asyncio.get_running_loop(), AsyncioLoop)


@pytest.fixture(scope='module')
def played() -> Iterator[Callable[[Case], None]]:
    """Checks a case, in a loop of its own."""
    with asyncio.Runner(loop_factory=AsyncioLoop) as runner:
        stack = contextlib.AsyncExitStack()
        playing = runner.run(stack.enter_async_context(player()))
        yield lambda case: runner.run(playing.check(case))
        runner.run(stack.aclose())


@given(
    method=st.sampled_from(METHODS),
    head=st.sampled_from([b'', OK, OK + b'content-length: 9\r\n\r\n', OK + b'transfer-encoding: chunked\r\n\r\n']),
    parts=st.lists(st.sampled_from(TOKENS) | st.binary(max_size=9), max_size=12),
    sizes=st.lists(st.integers(1, LIMIT), max_size=4).map(tuple),
)
@settings(
    derandomize=True, database=None, max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
def test_made_up(
    played: Callable[[Case], None], method: bytes, head: bytes, parts: list[bytes], sizes: tuple[int, ...]
) -> None:
    """What hypothesis puts together from pieces of HTTP and from any bytes; it makes small what it finds."""
    played(Case(method, head + b''.join(parts), sizes))


# The fuzzer finds what is wrong with a client


Client = Callable[[lowhaio.Pool, lowhaio.Connection, bytes], Awaitable[Verdict]]


async def lets_an_error_escape(pool: lowhaio.Pool, connection: lowhaio.Connection, method: bytes) -> Verdict:
    verdict = await receive(pool, connection, method)
    return Verdict(verdict.codes, verdict.headers, verdict.body[:-1] + bytes([verdict.body[-1]]))


async def takes_truncation_for_success(pool: lowhaio.Pool, connection: lowhaio.Connection, method: bytes) -> Verdict:
    with contextlib.suppress(lowhaio.ClosedError):
        return await receive(pool, connection, method)
    return Verdict((b'200',), ((b'content-length', b'2'),), b'o')


async def loses_a_byte(pool: lowhaio.Pool, connection: lowhaio.Connection, method: bytes) -> Verdict:
    verdict = await receive(pool, connection, method)
    return Verdict(verdict.codes, verdict.headers, verdict.body[1:])


async def does_not_read_to_the_end(pool: lowhaio.Pool, connection: lowhaio.Connection, method: bytes) -> Verdict:
    code, cursor = await pool.recv_status_line(connection)
    headers = [(key, value) async for key, value, cursor in pool.recv_headers(connection, cursor)]
    return Verdict((code,), tuple(headers), b'ok')


@pytest.mark.parametrize(
    ('client', 'response', 'says'),
    [
        (lets_an_error_escape, b'content-length: 0\r\n\r\n', r'IndexError.* escaped'),
        (takes_truncation_for_success, b'content-length: 2\r\n\r\no', r"body=b'o'.* in the place of .*SentClosedError"),
        (loses_a_byte, b'content-length: 2\r\n\r\nok', r"body=b'k'.* in the place of .*body=b'ok'"),
        (does_not_read_to_the_end, b'content-length: 2\r\n\r\nok', r'reusable=False\) in the place of .*reusable=True'),
    ],
)
async def test_fuzzer_finds_what_is_wrong(client: Client, response: bytes, says: str) -> None:
    async with player(receive=client) as playing:
        with pytest.raises(Finding, match=says):
            await playing.check(Case(b'GET', OK + response))


async def test_fuzzer_finds_too_much_work() -> None:
    """Work that grows with the square of the bytes."""

    async def starts_again_for_every_byte(pool: lowhaio.Pool, connection: lowhaio.Connection, method: bytes) -> Verdict:
        verdict = await receive(pool, connection, method)
        for size in range(len(verdict.body)):
            async for _ in lowhaio_gzip.decompress(pieces(verdict.body[: size + 1]), b'identity', piece_bytes=1):
                pass
        return verdict

    async with player(receive=starts_again_for_every_byte) as playing:
        await playing.check(Case(b'GET', OK + b'content-length: 20\r\n\r\n' + bytes(20)))
        with pytest.raises(Finding, match='lines were run'):
            await playing.check(Case(b'GET', OK + b'content-length: 900\r\n\r\n' + bytes(900)))


async def pieces(*parts: bytes) -> Any:
    for part in parts:
        yield part


# Work is linear, and memory does not grow with what is received

EMPTY_MEMBER = gzip.compress(b'', mtime=0)
CHUNKED = OK + b'transfer-encoding: chunked\r\n'
SHAPES: dict[str, Callable[[int], bytes]] = {
    'a status line without end': lambda size: b'HTTP/1.1 200 ' + b'x' * size,
    'a header without end': lambda size: OK + b'a: ' + b'x' * size,
    'CRs without end': lambda size: OK + b'\r' * size,
    'many headers': lambda size: OK + b'a: b\r\n' * (size // 6),
    'many long headers that differ': lambda size: (
        OK + b''.join(b'server: %08d%b\r\n' % (number, b'x' * 282) for number in range(size // 300))
    ),
    'many elements': lambda size: OK + b'connection: ' + b',' * size + b'\r\n\r\n',
    'many headers that frame the message': lambda size: OK + b'connection: a\r\n' * (size // 15),
    'many interim responses': lambda size: b'HTTP/1.1 100 Continue\r\n\r\n' * (size // 25),
    'a body of a length': lambda size: OK + b'content-length: %d\r\n\r\n' % size + bytes(size),
    'a body until the end': lambda size: OK + b'\r\n' + bytes(size),
    'chunks of a byte': lambda size: CHUNKED + b'\r\n' + b'1\r\nx\r\n' * (size // 6),
    'a large chunk': lambda size: CHUNKED + b'\r\n%x\r\n' % size + bytes(size),
    'extensions without end': lambda size: CHUNKED + b'\r\n1;' + b'x' * size,
    'many extensions': lambda size: CHUNKED + b'\r\n' + b'1;a\r\nx\r\n' * (size // 8),
    'many trailers': lambda size: CHUNKED + b'\r\n0\r\n' + b'a: b\r\n' * (size // 6),
    'a tunnel': lambda size: b'HTTP/1.1 101 Switching Protocols\r\n\r\n' + bytes(size),
    'gzip, many members': lambda size: OK + b'content-encoding: gzip\r\n\r\n' + EMPTY_MEMBER * (size // 20),
    'gzip, padding': lambda size: OK + b'content-encoding: gzip\r\n\r\n' + EMPTY_MEMBER + bytes(size),
    'gzip, stored': lambda size: OK + b'content-encoding: gzip\r\n\r\n' + gzip.compress(bytes(size), 0),
    'gzip, 1,000 to 1': lambda size: OK + b'content-encoding: gzip\r\n\r\n' + gzip.compress(bytes(size * 9)),
}

HELD = [
    SHAPES[name]
    for name in (
        'many headers',
        'many long headers that differ',
        'many headers that frame the message',
        'many trailers',
    )
]

shapes = pytest.mark.parametrize('shape', SHAPES.values(), ids=SHAPES)


async def steps(playing: Player, response: bytes, sizes: tuple[int, ...]) -> int:
    await playing.play(Case(b'GET', response, sizes))
    return playing.tracer.steps


@pytest.mark.parametrize('sizes', [(1,), (100, 1)], ids=['by the byte', 'in pieces'])
@shapes
def test_work_is_linear(shape: Callable[[int], bytes], sizes: tuple[int, ...]) -> None:
    """Twice the bytes take twice the lines of code or a little more; were it the square, it would be four times."""

    async def work() -> list[int]:
        async with player(limit=64 * KIB) as playing:
            await steps(playing, shape(600), sizes)  # what is done once for all responses
            return [await steps(playing, shape(size), sizes) for size in (600, 1200, 2400)]

    once, twice, four_times = run(work())
    assert twice <= 2.2 * once + 100
    assert four_times <= 2.2 * twice + 100


def run(coroutine: Coroutine[Any, Any, list[int]]) -> list[int]:
    """Run it in one of the loops: the lines and the memory of the client are the same in both."""
    with asyncio.Runner(loop_factory=AsyncioLoop) as runner:
        return runner.run(coroutine)


async def wasted(pool: lowhaio.Pool, connection: lowhaio.Connection, method: bytes) -> Verdict:
    """A caller that keeps nothing of what it receives."""
    code, cursor = b'', 0
    encoding = chunked = False
    while not code or (code.startswith(b'1') and code != b'101'):
        code, cursor = await pool.recv_status_line(connection, cursor)
        async for key, _, cursor in pool.recv_headers(connection, cursor):
            encoding = encoding or key == b'content-encoding'
            chunked = chunked or key == b'transfer-encoding'
    body = pool.recv_body(connection, cursor)
    if chunked:
        body = lowhaio_chunked.decode(body)
    if encoding:
        body = lowhaio_gzip.decompress(body)
    async for _ in body:
        pass
    return Verdict((code,))


@shapes
def test_memory_is_bounded(shape: Callable[[int], bytes]) -> None:
    """Three times the bytes take no more memory, beyond what one receive of `chunk_bytes`, here 1 KiB, varies by.

    Where a head or trailers are held, that is until their limit.
    """

    async def peaks(least: int) -> list[int]:
        found = []
        async with player(limit=KIB, receive=wasted, counts=False) as playing:
            for size in (least // 4, least, 3 * least):
                response = shape(size)
                tracemalloc.start()
                try:
                    await playing.play(Case(b'GET', response))
                    found.append(tracemalloc.get_traced_memory()[1])
                finally:
                    tracemalloc.stop()
        return found

    _, once, three_times = run(peaks(300_000 if shape in HELD else 70_000))
    assert three_times <= once + 32 * KIB
