"""What the recipes read, under bytes that nobody chose; and in how many steps, and how much memory, they read it.

`support.readers` says how it is read, and `support.reader_oracles` what must come out.
"""

from __future__ import annotations

import asyncio
import bz2
import gzip
import itertools
import lzma
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import brotli
import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.fuzzing import Case, Finding, Fuzzer, corpus
from support.loops import AsyncioLoop
from support.readers import PIECE_BYTES, READERS, SUFFIX, Reading

FOLDER = Path(__file__).parent.parent / 'fuzz' / 'corpus'
CORPORA = {name: corpus(FOLDER / name, SUFFIX) for name in READERS}
MUTATIONS = 50
KIB = 1024

every_reader = pytest.mark.parametrize('name', READERS)


def run(awaitable: Awaitable[Any]) -> Any:
    """The readers wait for nothing, so one loop is as good as another."""

    async def waiting() -> Any:
        return await awaitable

    with asyncio.Runner(loop_factory=AsyncioLoop) as runner:
        return runner.run(waiting())


def test_every_reader_has_a_corpus() -> None:
    """A few dozen files of less than two kilobytes each, which say the same after reading and writing."""
    assert {folder.name for folder in FOLDER.iterdir() if folder.is_dir()} == READERS.keys()
    for name, reader in READERS.items():
        files = [*(FOLDER / name).iterdir()]
        assert 13 <= len(files) <= 100
        for file in files:
            assert file.suffix == SUFFIX
            assert file.stat().st_size < 2 * KIB
            assert Case.parse(file.read_bytes()).dump() == file.read_bytes()
            assert Case.parse(file.read_bytes()).method in reader.ways


@every_reader
def test_corpus(name: str) -> None:
    """Each case in each way: whole, in its own pieces, and by the byte."""

    async def check() -> None:
        reading = Reading(READERS[name])
        for case, way in itertools.product(CORPORA[name], READERS[name].ways):
            await reading.check(Case(way, case.response, case.sizes or (1,)))

    run(check())


@every_reader
def test_mutations(name: str) -> None:
    """The same ones every time, so what fails once fails again."""

    async def check() -> None:
        reader = READERS[name]
        reading = Reading(reader)
        fuzzer = Fuzzer(reading, CORPORA[name], seed=0, methods=reader.ways, tokens=reader.tokens)
        for _ in range(MUTATIONS):
            await fuzzer.step()
        assert reading.executions >= MUTATIONS

    run(check())


@every_reader
def test_made_up(name: str) -> None:
    """What hypothesis puts together from the tokens and from any bytes; it makes small what it finds."""
    reader = READERS[name]
    reading = Reading(reader)

    @given(
        way=st.sampled_from(reader.ways),
        start=st.sampled_from([b'', *(case.response for case in CORPORA[name])]),
        parts=st.lists(st.sampled_from(reader.tokens) | st.binary(max_size=9), max_size=9),
        sizes=st.lists(st.integers(1, PIECE_BYTES), max_size=4).map(tuple),
    )
    @settings(
        derandomize=True, database=None, max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    def check(way: bytes, start: bytes, parts: list[bytes], sizes: tuple[int, ...]) -> None:
        run(reading.check(Case(way, start + b''.join(parts), sizes)))

    check()


# The fuzzer finds what is wrong with a reader


async def lets_an_error_escape(case: Case) -> object:
    return (await READERS['sse'].read(case)), case.response[9]


async def takes_truncation_for_success(case: Case) -> object:
    """An event without the empty line after it."""
    return await READERS['sse'].read(replace(case, response=case.response + b'\n\n'))


async def depends_on_the_split(case: Case) -> object:
    """A CR and an LF that come apart are taken for two ends of a line."""
    sized = case.sizes == (1,)
    return await READERS['sse'].read(replace(case, response=case.response.replace(b'\r\n', b'\r\r')) if sized else case)


async def starts_again_for_every_byte(case: Case) -> object:
    for size in range(len(case.response)):
        await READERS['sse'].read(replace(case, response=case.response[:size], sizes=(1,)))
    return await READERS['sse'].read(case)


@pytest.mark.parametrize(
    ('read', 'response', 'says'),
    [
        (lets_an_error_escape, b'data: a\n', r'IndexError.* escaped'),
        (takes_truncation_for_success, b'data: a', r"'message', 'a', ''.* in the place of \(\(\), "),
        (depends_on_the_split, b'data: a\r\ndata: b\r\n\r\n', r"\('message', 'a', ''\).* in the place of .*'a\\nb'"),
        (starts_again_for_every_byte, b'data: a\n' * 40, 'lines were run'),
    ],
)
def test_fuzzer_finds_what_is_wrong(read: Callable[[Case], Awaitable[object]], response: bytes, says: str) -> None:
    reading = Reading(replace(READERS['sse'], read=read))
    with pytest.raises(Finding, match=says):
        run(reading.check(Case(b'default', response, (1,))))


# Work is linear, and memory does not grow with what is received

OK = b'HTTP/1.1 200 OK\r\n'
SHAPES: dict[str, tuple[str, bytes, Callable[[int], bytes]]] = {
    'a head without end': ('connect', b'open', lambda size: OK + b'a: ' + b'x' * size),
    'many headers': ('connect', b'open', lambda size: OK + b'a: b\r\n' * (size // 6) + b'\r\n'),
    'a line that goes on and on': (
        'connect',
        b'open',
        lambda size: OK + b'a: b\r\n' + b' b\r\n' * (size // 4) + b'\r\n',
    ),
    'interim responses': ('connect', b'open', lambda size: b'HTTP/1.1 100 Continue\r\n\r\n' * (size // 25)),
    'CRs': ('connect', b'open', lambda size: b'\r' * size),
    'what comes through the tunnel': ('connect', b'open', lambda size: OK + b'\r\n' + bytes(size)),
    'a line of an event': ('sse', b'default', lambda size: b'data: ' + b'x' * size + b'\n\n'),
    'many lines of an event': ('sse', b'default', lambda size: b'data: x\n' * (size // 8) + b'\n'),
    'many events': ('sse', b'default', lambda size: b'data: x\n\n' * (size // 9)),
    'many empty lines': ('sse', b'default', lambda size: b'\r\n' * (size // 2)),
    'comments': ('sse', b'default', lambda size: b':\n\n' * (size // 3)),
    'many frames of zstd': ('codings', b'all', lambda size: b'zstd\n' + zstd.compress(b'') * (size // 9)),
    'many streams of bzip2': ('codings', b'all', lambda size: b'bzip2\n' + bz2.compress(b'') * (size // 14)),
    'many members of gzip': ('codings', b'gzip', lambda size: b'gzip\n' + gzip.compress(b'', mtime=0) * (size // 20)),
    'nothing compressed': ('codings', b'all', lambda size: b'identity\n' + bytes(size)),
    'codings': ('codings', b'all', lambda size: b'gzip,' * (size // 5) + b'\nx'),
    'what is left of a download': (
        'resume',
        b'tag',
        lambda size: b'206\ncontent-range: bytes 4-9/10\n\n456789' + bytes(size),
    ),
    'a download': ('resume', b'begin', lambda size: b'200\n\n' + bytes(size)),
    'many extensions': (
        'websocket',
        b'plain',
        lambda size: b'101\nsec-websocket-extensions: ' + b'a;b=c,' * (size // 6),
    ),
    'dots': ('redirect', b'deep', lambda size: b'../' * (size // 3)),
    'segments': ('redirect', b'deep', lambda size: b'a/' * (size // 2)),
    'a path to escape': ('request', b'GET', lambda size: b'https://example.com/' + b'"' * size),
    'digits': ('retry', b'429', lambda size: b'9' * size),
    'line ends in a form': ('multipart', b'made', lambda size: b'a\x1f' + b'\r\n--' * (size // 4)),
}


@pytest.mark.parametrize('shape', SHAPES)
def test_work_is_linear(shape: str) -> None:
    """Twice the bytes take twice the lines of code or a little more; were it the square, it would be four times."""
    name, way, made = SHAPES[shape]

    async def steps(size: int) -> int:
        reading = Reading(READERS[name])
        await reading.play(Case(way, made(size), (1, 9)))
        return reading.tracer.steps

    async def check() -> None:
        once, twice, four_times = [await steps(size) for size in (600, 1200, 2400)]
        assert twice <= 2.2 * once + 100
        assert four_times <= 2.2 * twice + 100

    run(check())


BOMBS: dict[str, Callable[[bytes], bytes]] = {
    'zstd': zstd.compress,
    'br': brotli.compress,
    'bzip2': bz2.compress,
    'xz': lzma.compress,
    'gzip': gzip.compress,
}


@pytest.mark.parametrize('coding', BOMBS)
def test_memory_of_a_bomb_is_bounded(coding: str) -> None:
    """Eight times the content, all of it over the limit, takes no more memory, beside the copy that is received."""
    way = b'gzip' if coding == 'gzip' else b'all'
    cases = [Case(way, coding.encode() + b'\n' + BOMBS[coding](bytes(size))) for size in (10**6, 10**6, 8 * 10**6)]

    async def check() -> list[int]:
        peaks = []
        for case in cases:
            tracemalloc.start()
            try:
                assert await READERS['codings'].read(case) == 'error'
                peaks.append(tracemalloc.get_traced_memory()[1] - len(case.response))
            finally:
                tracemalloc.stop()
        return peaks

    peaks = run(check())
    assert peaks[2] <= peaks[1] + 32 * KIB, peaks


@pytest.mark.parametrize('piece', [b': ping\n\n', b'id: 1\n\n', b'event: x\n\n', b'\r'])
def test_memory_of_events_without_data_is_bounded(piece: bytes) -> None:
    """A stream that only pings goes on for days. Beside the copy that is received, ten times of it take no more."""

    async def check() -> list[int]:
        peaks = []
        for times in (2000, 2000, 20000):
            case = Case(b'limited', piece * times)
            tracemalloc.start()
            try:
                # In pieces of 1 KiB, as what is held of a piece depends on its size.
                read: Any = await READERS['sse'].read(replace(case, sizes=(KIB,)))
                events, _, _, error = read
                assert not events
                assert error is None
                peaks.append(tracemalloc.get_traced_memory()[1] - len(case.response))
            finally:
                tracemalloc.stop()
        return peaks

    peaks = run(check())
    assert peaks[2] <= peaks[1] + 32 * KIB, peaks
