"""What is tried again, when, and what is not."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lowhaio
from lowhaio_retry import IDEMPOTENT, retried
from support.certificates import Authority
from support.exchanges import Answers, Response, request, whole
from support.loops import ClockLoop
from support.pools import small_pool, turns
from support.puppets import in_turn, puppets, reads_head, says
from support.scripted import Peer, refusing, scripted

URL = 'https://example.com/'
NOW = 1_000_000_000


class Failure(Exception):
    """An error with some of the attributes that those of lowhaio have."""

    def __init__(self, **attributes: object) -> None:
        super().__init__(attributes)
        self.__dict__ |= attributes


def unsent() -> Failure:
    return Failure(bytes_sent=0, bytes_received=0, reused=False, caller_erred=False)


def sent() -> Failure:
    return Failure(bytes_sent=10, bytes_received=0, reused=False, caller_erred=False)


def partly() -> Failure:
    return Failure(bytes_sent=10, bytes_received=1, reused=True, caller_erred=False)


def stale() -> Failure:
    return Failure(bytes_sent=10, bytes_received=0, reused=True, caller_erred=False)


class Retrying:
    """`retried` around these answers, with chance that is always 1 and pauses that only are noted."""

    def __init__(self, *answers: Response | Exception, **settings: Any) -> None:
        self.below = Answers(answers)
        self.pauses: list[float] = []
        chosen: dict[str, Any] = {'sleep': self.sleep, 'random': lambda: 1.0, 'now': lambda: NOW}
        self.call = retried(self.below.exchange, **chosen | settings)

    async def sleep(self, seconds: float) -> None:
        assert self.below.open == 0, 'a pause inside of a block'
        self.pauses.append(seconds)

    async def code(self, method: bytes = b'GET', body: Any = None) -> bytes:
        return (await whole(self.call, method, URL, {}, body)).code


MAY = [
    (b'GET', unsent(), True),
    (b'GET', sent(), True),
    (b'GET', partly(), True),
    (b'GET', Failure(bytes_sent=10), True),
    (b'POST', unsent(), True),
    (b'POST', Failure(bytes_sent=0), True),
    (b'POST', sent(), False),
    (b'POST', Failure(bytes_sent=0, redirects=1), False),
    (b'POST', Failure(bytes_sent=0, reused=True, bytes_received=0, redirects=1), False),
    (b'PUT', Failure(bytes_sent=0, redirects=1), True),
    (b'GET', Failure(bytes_sent=10, redirects=2), True),
    (b'POST', stale(), False),
    (b'PATCH', sent(), False),
    (b'get', sent(), False),
    (b'GET', Failure(bytes_sent=0, caller_erred=True), False),
    (b'GET', Failure(bytes_sent=10, caller_erred=True), False),
    (b'GET', Failure(), False),
    (b'GET', ValueError(), False),
    (b'GET', ConnectionResetError(), False),
    (b'GET', socket.gaierror(socket.EAI_NONAME, 'no such name'), False),
    (b'GET', socket.gaierror(socket.EAI_AGAIN, 'later'), True),
    (b'POST', socket.gaierror(socket.EAI_AGAIN, 'later'), True),
    *((method, sent(), True) for method in sorted(IDEMPOTENT)),
]


@pytest.mark.parametrize(('method', 'failure', 'may'), MAY)
async def test_what_may_be_sent_again(method: bytes, failure: Exception, may: bool) -> None:
    retrying = Retrying(failure, Response())
    if may:
        assert await retrying.code(method) == b'200'
        assert [call[:2] for call in retrying.below.calls] == [(method, URL)] * 2
    else:
        with pytest.raises(type(failure)) as caught:
            await retrying.code(method)
        assert caught.value is failure
        assert len(retrying.below.calls) == 1


async def test_methods_can_be_added() -> None:
    assert await Retrying(sent(), Response(), methods=IDEMPOTENT | {b'POST'}).code(b'POST') == b'200'


@pytest.mark.parametrize('attempts', [1, 2, 5])
async def test_attempts_are_counted_and_the_last_error_is_raised(attempts: int) -> None:
    failures = [sent() for _ in range(attempts)]
    retrying = Retrying(*failures, Response(), attempts=attempts)
    with pytest.raises(Failure) as caught:
        await retrying.code()
    assert caught.value is failures[-1]
    assert caught.value.__context__ is None
    assert len(retrying.below.calls) == attempts
    assert len(retrying.pauses) == attempts - 1
    assert await Retrying(*failures[1:], Response(), attempts=attempts).code() == b'200'


async def test_pauses_grow_up_to_the_longest() -> None:
    retrying = Retrying(*[sent() for _ in range(7)], Response(), attempts=8, pause_seconds=0.5, max_pause_seconds=5)
    await retrying.code()
    assert retrying.pauses == [0.5, 1, 2, 4, 5, 5, 5]
    retrying = Retrying(sent(), sent(), Response(), pause_seconds=9, max_pause_seconds=5)
    await retrying.code()
    assert retrying.pauses == [5, 5]


async def test_chance_decides_how_long() -> None:
    retrying = Retrying(sent(), sent(), Response(), pause_seconds=8, random=iter([0.25, 0.0]).__next__)
    await retrying.code()
    assert retrying.pauses == [2, 0]


async def test_without_anything_handed_in_it_sleeps_on_the_loop(clock: ClockLoop) -> None:
    below = Answers([unsent(), Response()])
    answering = asyncio.create_task(
        whole(retried(below.exchange, pause_seconds=1000, max_pause_seconds=1000), b'GET', URL)
    )
    await clock.idle()
    assert not answering.done()
    clock.advance(1000)
    assert (await answering).code == b'200'


async def test_a_stale_connection_is_not_counted_and_not_waited_for() -> None:
    retrying = Retrying(stale(), stale(), sent(), stale(), sent(), stale(), Response())
    assert await retrying.code() == b'200'
    assert retrying.pauses == [0.5, 1]
    retrying = Retrying(Failure(bytes_sent=0, reused=True, bytes_received=0), Response(), attempts=1)
    assert await retrying.code(b'POST') == b'200'


async def test_a_stale_connection_that_was_silent_for_too_long_is_counted() -> None:
    class Late(Failure, TimeoutError):
        pass

    retrying = Retrying(Late(bytes_sent=9, bytes_received=0, reused=True), Response(), attempts=1)
    with pytest.raises(Late):
        await retrying.code()


async def test_stale_connections_have_an_end() -> None:
    retrying = Retrying(stale(), attempts=3)
    with pytest.raises(Failure):
        await retrying.code()
    assert len(retrying.below.calls) == 103
    assert retrying.pauses == [0.5, 1]


# 429 and 503


def later(code: bytes = b'503', retry_after: bytes | None = None, content: tuple[bytes, ...] = (b'later',)) -> Response:
    return Response(code, {} if retry_after is None else {b'retry-after': retry_after}, content)


RETRY_AFTER = [  # and the seconds to wait, None where that is too long
    (None, 0),
    (b'0', 0),
    (b'1', 1),
    (b'007', 7),
    (b'60', 60),
    (b'61', None),
    (b'9' * 5000, None),
    (b'', 0),
    (b'-1', 0),
    (b'1.5', 0),
    (b'1, 2', 0),
    (b'soon', 0),
    (b'\xff', 0),
    (b'Sun, 09 Sep 2001 01:47:10 GMT', 30),
    (b'Sunday, 09-Sep-01 01:47:10 GMT', 30),
    (b'Sun Sep  9 01:47:10 2001', 30),
    (b'Sun, 09 Sep 2001 01:46:39 GMT', 0),
    (b'Sun, 09 Sep 2001 01:47:41 GMT', None),
    (b'Sun, 09 Sep 9999 01:47:41 GMT', None),
    (b'Sun, 99 Sep 2001 99:99:99 GMT', None),
    (b'Sun, 09 Sep 0000 00:00:00 GMT', 0),
]


@pytest.mark.parametrize('code', [b'429', b'503'])
@pytest.mark.parametrize(('retry_after', 'seconds'), RETRY_AFTER)
async def test_retry_after(code: bytes, retry_after: bytes | None, seconds: float | None) -> None:
    """It comes on top of the pause."""
    retrying = Retrying(later(code, retry_after), Response(), pause_seconds=0.25)
    assert await retrying.code() == (code if seconds is None else b'200')
    assert retrying.pauses == ([] if seconds is None else [seconds + 0.25])


@given(st.binary(max_size=40) | st.text(alphabet='0123456789 SunSepGMT,:-+', max_size=40).map(str.encode))
def test_no_retry_after_is_an_error(retry_after: bytes) -> None:
    async def run() -> None:
        retrying = Retrying(later(b'503', retry_after), Response())
        assert await retrying.code() in (b'200', b'503')
        assert all(0.5 <= pause <= 60.5 for pause in retrying.pauses)

    asyncio.run(run())


async def test_the_last_answer_is_handed_out_as_it_is() -> None:
    retrying = Retrying(later(), later(b'429', b'1'), later(b'503', b'2', (b'no ', b'more')))
    answered = await whole(retrying.call, b'GET', URL)
    assert (answered.code, answered.headers, answered.content) == (b'503', {b'retry-after': b'2'}, b'no more')
    assert retrying.pauses == [0.5, 2]


@pytest.mark.parametrize('code', [b'200', b'400', b'408', b'500', b'502', b'504'])
async def test_other_answers_are_handed_out(code: bytes) -> None:
    retrying = Retrying(Response(code, {b'retry-after': b'1'}), Response())
    assert await retrying.code() == code


async def test_an_answer_to_what_may_not_be_done_twice_is_handed_out() -> None:
    assert await Retrying(later(), Response()).code(b'POST') == b'503'


async def test_failures_and_answers_count_together() -> None:
    retrying = Retrying(later(), sent(), later(), Response())
    assert await retrying.code() == b'503'
    failure = sent()
    retrying = Retrying(later(), later(), failure, Response())
    with pytest.raises(Failure) as caught:
        await retrying.code()
    assert caught.value is failure


async def test_an_answer_that_breaks_off_before_it_is_read_is_a_failure_like_others() -> None:
    retrying = Retrying(Response(b'503', {b'retry-after': b'3'}, [b'la'], sent()), Response())
    assert await retrying.code() == b'200'
    assert retrying.pauses == [3.5]


@pytest.mark.parametrize(('pieces', 'read'), [(0, 0), (64, 64), (66, 65), (1000, 65)])
async def test_a_small_answer_is_read_for_its_connection(pieces: int, read: int) -> None:
    """Of one KiB each."""
    retrying = Retrying(later(content=(bytes(1024),) * pieces), Response())
    await retrying.code()
    assert retrying.below.read[0] == read


# Bodies


async def made() -> AsyncGenerator[bytes, None]:
    yield b'body'


async def test_a_body_is_handed_on_as_it_is() -> None:
    for body in (None, b'body', made):
        retrying = Retrying(sent(), Response())
        await retrying.code(b'PUT', body)
        assert [call[3] for call in retrying.below.calls] == [body, body]


async def test_a_generator_is_not_sent_again_and_the_error_says_so() -> None:
    failure = unsent()
    retrying = Retrying(failure, Response())
    with pytest.raises(Failure) as caught:
        await retrying.code(b'PUT', made())
    assert caught.value is failure
    assert failure.__notes__ == ['not tried again, as the body is a generator: hand in a function that makes one']
    assert await Retrying(later(), Response()).code(b'PUT', made()) == b'503'
    erred = Failure(bytes_sent=0, caller_erred=True)
    with pytest.raises(Failure):
        await Retrying(erred, Response()).code(b'PUT', made())
    assert not hasattr(erred, '__notes__')


async def test_what_fails_in_the_block_is_not_tried_again() -> None:
    """Neither the body of the response, nor what is done with it."""
    retrying = Retrying(Response(content=[b'hel'], error=partly()), Response())
    with pytest.raises(Failure):
        await retrying.code()
    assert len(retrying.below.calls) == 1
    retrying = Retrying(Response())
    with pytest.raises(Failure):
        async with retrying.call(b'GET', URL, {}, None):
            raise unsent()
    assert len(retrying.below.calls) == 1


@pytest.mark.parametrize(
    ('settings', 'error'),
    [
        ({'attempts': 0}, ValueError),
        ({'attempts': 1.5}, TypeError),
        ({'attempts': True}, TypeError),
        ({'pause_seconds': -1}, ValueError),
        ({'pause_seconds': float('nan')}, ValueError),
        ({'max_pause_seconds': float('inf')}, ValueError),
        ({'max_retry_after_seconds': -0.1}, ValueError),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match='must be'):
        retried(Answers([]).exchange, **settings)


# With the errors of lowhaio


async def test_a_connection_that_nobody_accepts() -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    with refusing() as info:
        async with small_pool() as pool:
            call = retried(request(pool), sleep=sleep, random=lambda: 1.0)
            with pytest.raises(lowhaio.ConnectError):
                await whole(call, b'POST', f'http://127.0.0.1:{info[4][1]}/', {}, b'body')
    assert pauses == [0.5, 1]


async def test_a_certificate_that_is_refused_is_asked_for_again_after_a_pause(
    server_tls: ssl.SSLContext, other_authority: Authority
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    def never_asked(peer: Peer) -> None:
        peer.until_closed()

    async with scripted(never_asked, tls=server_tls) as server, small_pool() as pool:
        call = retried(request(pool, https=other_authority.client()), sleep=sleep, random=lambda: 1.0)
        with pytest.raises(lowhaio.TLSError):
            await whole(call, b'GET', f'https://localhost:{server.port}/')
    assert pauses == [0.5, 1]
    assert server.accepted == 3


async def test_a_mistake_of_the_caller() -> None:
    pool = small_pool()
    with pytest.raises(lowhaio.LocalProtocolError, match='enter the block of this pool first'):
        await whole(retried(request(pool)), b'GET', 'http://127.0.0.1:1/')


@pytest.mark.parametrize('method', [b'GET', b'POST'])
async def test_a_server_that_closes_a_kept_connection_while_a_request_is_on_its_way(method: bytes) -> None:
    ok = b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
    async with puppets() as server, small_pool() as pool:
        call = retried(request(pool), attempts=1)
        url = f'http://127.0.0.1:{server.port}/'
        server.begin(0, in_turn(reads_head, says(ok), reads_head, Peer.close))
        server.begin(1, in_turn(reads_head, says(ok)))
        assert (await whole(call, b'GET', url)).content == b'ok'
        if method == b'GET':
            assert (await whole(call, method, url)).content == b'ok'
        else:
            with pytest.raises(lowhaio.ClosedError, match='reused connection'):
                await whole(call, method, url)
        assert server.accepted == (2 if method == b'GET' else 1)


async def test_cancelled_in_a_pause(clock: ClockLoop) -> None:
    below = Answers([later(retry_after=b'60'), Response()])
    answering = asyncio.create_task(whole(retried(below.exchange), b'GET', URL))
    await clock.idle()
    assert below.open == 0
    answering.cancel()
    await turns()
    assert answering.cancelled()
    assert len(below.calls) == 1


async def test_a_date_is_one_of_the_clock_that_is_handed_in_or_of_the_system() -> None:
    retry_after = formatdate(usegmt=True, timeval=4_000_000_000).encode()
    retrying = Retrying(later(retry_after=retry_after), Response(), now=lambda: 4_000_000_000 - 5)
    assert await retrying.code() == b'200'
    assert retrying.pauses == [5.5]
    assert (await whole(retried(Answers([later(retry_after=retry_after)]).exchange), b'GET', URL)).code == b'503'
