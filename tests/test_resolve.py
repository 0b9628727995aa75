"""A resolver with a cache: how often it asks, for whom, and what it remembers."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from typing import Any

import pytest

import lowhaio_resolve
from support.exchanges import request, whole
from support.loops import ClockLoop
from support.pools import answer, small_pool, turns
from support.scripted import scripted


class Below:
    """A resolver that answers when it is told to: each query waits for `answers[number]`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.answers: list[asyncio.Future[Any]] = []

    async def __call__(self, host: str, port: int) -> Any:
        self.asked.append((host, port))
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]


class Ready:
    """A resolver that answers at once: the next of `answers`, or the last again."""

    def __init__(self, *answers: Any) -> None:
        self.asked: list[tuple[str, int]] = []
        self.answers = answers

    async def __call__(self, host: str, port: int) -> Any:
        self.asked.append((host, port))
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


AGAIN = socket.gaierror(socket.EAI_AGAIN, 'later')
NO_NAME = socket.gaierror(socket.EAI_NONAME, 'no such name')


async def test_an_answer_holds_for_so_many_seconds(clock: ClockLoop) -> None:
    below = Ready(['a'], ['b'])
    resolve = lowhaio_resolve.cached(max_age_seconds=30, resolve=below)
    assert await resolve('h', 443) == ('a',)
    clock.advance(29.9)
    assert await resolve('h', 443) == ('a',)
    clock.advance(0.1)
    assert await resolve('h', 443) == ('b',)
    assert below.asked == [('h', 443)] * 2


async def test_no_age_keeps_nothing() -> None:
    below = Ready(['a'])
    resolve = lowhaio_resolve.cached(max_age_seconds=0, max_stale_seconds=60, resolve=below)
    await resolve('h', 443)
    await resolve('h', 443)
    assert len(below.asked) == 2


async def test_names_and_ports_are_told_apart() -> None:
    below = Ready(['a'])
    resolve = lowhaio_resolve.cached(max_age_seconds=30, resolve=below)
    for host, port in (('h', 443), ('h', 80), ('i', 443), ('H', 443)):
        await resolve(host, port)
    assert below.asked == [('h', 443), ('h', 80), ('i', 443)]


async def test_the_caller_cannot_change_what_is_kept() -> None:
    answer = ['a']
    resolve = lowhaio_resolve.cached(max_age_seconds=30, resolve=Ready(answer))
    await resolve('h', 443)
    answer.append('b')
    assert await resolve('h', 443) == ('a',)


async def test_one_query_at_a_time_for_a_name() -> None:
    below = Below()
    resolve = lowhaio_resolve.cached(max_age_seconds=0, resolve=below)
    callers = [asyncio.create_task(resolve(host, 443)) for host in 'hhih']
    await turns()
    assert below.asked == [('h', 443), ('i', 443)]
    below.answers[0].set_result(['a'])
    below.answers[1].set_result(['b'])
    assert await asyncio.gather(*callers) == [('a',), ('a',), ('b',), ('a',)]
    later = asyncio.create_task(resolve('h', 443))
    await turns()
    below.answers[2].set_result(['c'])
    assert await later == ('c',)


@pytest.mark.parametrize('number', [0, 1, 2])
async def test_a_caller_who_is_cancelled_harms_nobody(number: int) -> None:
    """Neither the one who asked first."""
    below = Below()
    resolve = lowhaio_resolve.cached(max_age_seconds=30, resolve=below)
    callers = [asyncio.create_task(resolve('h', 443)) for _ in range(3)]
    await turns()
    callers[number].cancel()
    await turns()
    assert callers[number].cancelled()
    below.answers[0].set_result(['a'])
    done = await asyncio.gather(*callers, return_exceptions=True)
    assert [answer for answer in done if not isinstance(answer, BaseException)] == [('a',)] * 2
    assert await resolve('h', 443) == ('a',)
    assert len(below.asked) == 1


async def test_a_query_that_nobody_waits_for_is_cancelled() -> None:
    below = Below()
    resolve = lowhaio_resolve.cached(max_age_seconds=30, resolve=below)
    callers = [asyncio.create_task(resolve('h', 443)) for _ in range(2)]
    await turns()
    for caller in callers:
        caller.cancel()
    await turns()
    assert below.answers[0].cancelled()
    another = asyncio.create_task(resolve('h', 443))
    await turns()
    below.answers[1].set_result(['a'])
    assert await another == ('a',)


async def test_who_comes_while_a_query_is_being_cancelled_asks_anew() -> None:
    below = Below()
    resolve = lowhaio_resolve.cached(max_age_seconds=30, resolve=below)
    first = asyncio.create_task(resolve('h', 443))
    await turns()
    first.cancel()
    second = asyncio.create_task(resolve('h', 443))
    await turns()
    assert len(below.asked) == 2
    below.answers[1].set_result(['a'])
    assert await second == ('a',)


async def test_cancelled_in_the_turn_in_which_the_query_fails() -> None:
    """Nobody is left to take its error, and nobody complains about that."""
    below = Below()
    resolve = lowhaio_resolve.cached(max_age_seconds=30, resolve=below)
    caller = asyncio.create_task(resolve('h', 443))
    await turns()
    below.answers[0].set_exception(AGAIN)
    await asyncio.sleep(0)
    caller.cancel()
    await turns()
    assert caller.cancelled()


async def test_a_failure_is_not_kept_and_every_caller_gets_it() -> None:
    below = Below()
    resolve = lowhaio_resolve.cached(max_age_seconds=30, resolve=below)
    callers = [asyncio.create_task(resolve('h', 443)) for _ in range(2)]
    await turns()
    failure = socket.gaierror(socket.EAI_AGAIN, 'later')
    below.answers[0].set_exception(failure)
    assert await asyncio.gather(*callers, return_exceptions=True) == [failure, failure]
    another = asyncio.create_task(resolve('h', 443))
    await turns()
    below.answers[1].set_result(['a'])
    assert await another == ('a',)


async def test_an_answer_without_an_address_is_not_kept() -> None:
    below = Ready([], ['a'])
    resolve = lowhaio_resolve.cached(max_age_seconds=30, resolve=below)
    assert await resolve('h', 443) == ()
    assert await resolve('h', 443) == ('a',)


async def test_an_old_answer_stands_in_while_the_resolver_fails(clock: ClockLoop) -> None:
    below = Ready(['a'], AGAIN, TimeoutError(), AGAIN, AGAIN)
    resolve = lowhaio_resolve.cached(max_age_seconds=10, max_stale_seconds=70, resolve=below)
    await resolve('h', 443)
    clock.advance(10)
    assert await resolve('h', 443) == ('a',)
    clock.advance(29.9)
    assert await resolve('h', 443) == ('a',)
    assert len(below.asked) == 2, 'it is asked again after 30 seconds'
    clock.advance(0.1)
    assert await resolve('h', 443) == ('a',)
    assert len(below.asked) == 3
    clock.advance(30)
    assert await resolve('h', 443) == ('a',)
    assert len(below.asked) == 4
    clock.advance(10)
    with pytest.raises(socket.gaierror):
        await resolve('h', 443)


async def test_an_old_answer_goes_where_there_is_no_such_name_any_more(clock: ClockLoop) -> None:
    below = Ready(['a'], NO_NAME, AGAIN)
    resolve = lowhaio_resolve.cached(max_age_seconds=10, max_stale_seconds=60, resolve=below)
    await resolve('h', 443)
    clock.advance(10)
    for failure in (NO_NAME, AGAIN):
        with pytest.raises(socket.gaierror) as caught:
            await resolve('h', 443)
        assert caught.value is failure


async def test_an_old_answer_does_not_stand_in_if_it_was_not_asked_for(clock: ClockLoop) -> None:
    resolve = lowhaio_resolve.cached(max_age_seconds=10, resolve=Ready(['a'], AGAIN))
    await resolve('h', 443)
    clock.advance(10)
    with pytest.raises(socket.gaierror):
        await resolve('h', 443)


async def test_the_oldest_answer_goes_first(clock: ClockLoop) -> None:
    below = Ready(['a'])
    resolve = lowhaio_resolve.cached(max_age_seconds=10, max_names=2, resolve=below)
    await resolve('h', 443)
    await resolve('i', 443)
    clock.advance(10)
    await resolve('h', 443)  # anew: now that of `i` is the oldest
    await resolve('j', 443)
    asked = len(below.asked)
    await resolve('h', 443)
    await resolve('j', 443)
    assert len(below.asked) == asked
    await resolve('i', 443)
    assert len(below.asked) == asked + 1


async def test_errors_are_part_of_no_cycle() -> None:
    class Failure(Exception):
        pass

    async def fails(host: str, port: int) -> Any:
        raise Failure

    resolve = lowhaio_resolve.cached(max_age_seconds=10, resolve=fails)

    async def attempt() -> weakref.ref[Failure]:
        try:
            await resolve('h', 443)
        except Failure as error:
            return weakref.ref(error)
        raise AssertionError

    gc.disable()
    try:
        found = await attempt()
        await turns()
        assert found() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ('settings', 'error'),
    [
        ({'max_age_seconds': -1}, ValueError),
        ({'max_age_seconds': float('inf')}, ValueError),
        ({'max_age_seconds': 1, 'max_stale_seconds': float('nan')}, ValueError),
        ({'max_age_seconds': 1, 'max_names': 0}, ValueError),
        ({'max_age_seconds': 1, 'max_names': 1.5}, TypeError),
        ({'max_age_seconds': 1, 'max_names': True}, TypeError),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match='must be'):
        lowhaio_resolve.cached(**settings)


async def test_for_requests_by_the_loops_own_resolver() -> None:
    async with scripted(answer) as server, small_pool() as pool:
        resolve = lowhaio_resolve.cached(max_age_seconds=30)
        call = request(pool, resolve=resolve)
        for _ in range(2):
            assert (await whole(call, b'GET', f'http://127.0.0.1:{server.port}/')).content == b'hello'
    assert server.accepted == 1
