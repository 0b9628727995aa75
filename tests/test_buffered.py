"""A body as a whole, up to a limit."""

from __future__ import annotations

import pytest

from lowhaio_buffered import LimitError, buffered
from support.conformance import Below, body_of
from support.stepping import sweep

pytestmark = pytest.mark.one_loop


async def test_joins_the_pieces() -> None:
    assert await buffered(body_of(b'Hello', b'', b', world'), 100) == b'Hello, world'
    assert await buffered(body_of(), 0) == b''


async def test_a_body_of_exactly_the_limit_is_accepted() -> None:
    assert await buffered(body_of(b'12', b'345'), 5) == b'12345'


async def test_a_body_over_the_limit_is_refused_as_soon_as_it_is() -> None:
    below = Below([b'12', b'3456', b'7'])
    with pytest.raises(LimitError, match='a body of more than 5 bytes'):
        await buffered(below.body, 5)
    assert below.closed == 1
    with pytest.raises(LimitError, match='a body of more than 0 bytes'):
        await buffered(body_of(b'1'), 0)


async def test_nothing_is_sent_to_the_body() -> None:
    below = Below([b'1', b'2'])
    assert await buffered(below.body, 2) == b'12'
    assert below.sent == []


async def test_an_error_from_below_comes_out_unchanged() -> None:
    error = ZeroDivisionError('from below')
    below = Below([b'1'], error=error)
    with pytest.raises(ZeroDivisionError) as caught:
        await buffered(below.body, 100)
    assert caught.value is error
    assert below.closed == 1


async def test_cancelling_closes_the_body() -> None:
    belows: list[Below] = []

    async def exchange() -> None:
        belows.append(Below([b'1', b'2', b'3']))
        await buffered(belows[-1].body, 100)

    async def afterwards() -> None:
        assert belows[-1].closed == 1

    assert await sweep(exchange, afterwards) == 4
