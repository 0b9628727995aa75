"""The contract of an exchange, as checks that take any wrapper of one.

A wrapper takes an exchange and returns one. Whoever writes one describes it by an `ExchangeContract`, and runs all
checks:

    CONTRACT = ExchangeContract(my_wrapper, [Case([Response(b'503'), Response(b'200')])])


    @pytest.mark.parametrize('check', CHECKS)
    async def test_my_wrapper_keeps_the_contract(check: Check) -> None:
        await check(CONTRACT)

A case is what the exchange below answers, call by call; the wrapper hands out the last of it, or an equal one. The
exchange below suspends at every step and keeps a record. In a wrapper that keeps the contract,

- the first call below is made with the caller's arguments, and the caller's headers stay as they were;
- at most one block below is open at a time, and it is open while the response is in the caller's hands;
- every block below has been left when the block of the wrapper is, whether the body was read, in part, or not at all,
  and whether it ended well, by an error, or by cancellation at any await;
- what happens in the caller's block is told to the block below, and comes out as it was, the same object;
- so does what the exchange below raises when it is entered, in its body, and when it is left, unless it says that it
  may be tried again;
- two calls at once know nothing of one another;
- an error is part of no reference cycle: it goes when nobody holds it any more.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from .exchanges import Answer, Answers, Exchange, Response, Whole, whole
from .stepping import sweep

Check = Callable[['ExchangeContract'], Awaitable[None]]

METHOD, URL = b'GET', 'https://a.example/'
HEADERS = {b'accept': b'*/*', b'cookie': b'a=1'}


class Raised(Exception):
    """What the exchange below raises, and what the caller's block does: it says nothing of what may be done."""


@dataclass(frozen=True)
class Case:
    """What the exchange below answers, and the content that the wrapper makes of it."""

    answers: Sequence[Answer]
    content: bytes = b'hello'
    code: bytes = b'200'

    def last(self) -> Response:
        assert isinstance(self.answers[-1], Response)
        return self.answers[-1]


@dataclass(frozen=True)
class ExchangeContract:
    """A wrapper, and what is expected of it.

    opens_late: it enters a block below only when its body is read, as a download does that goes on by itself.
    adds: headers that it adds to the first request.
    """

    wrap: Callable[[Exchange], Exchange]
    cases: Sequence[Case]
    opens_late: bool = False
    adds: dict[bytes, bytes] = field(default_factory=dict)


def _left(below: Answers) -> None:
    assert below.open == 0, 'a block below was not left'
    assert below.most_open <= 1, f'{below.most_open} blocks below at once'
    assert len(below.left_by) == len(below.calls)


async def answered(contract: ExchangeContract) -> None:
    """Read to the end."""
    for case in contract.cases:
        below = Answers(case.answers)
        result = await whole(contract.wrap(below.exchange), METHOD, URL, HEADERS)
        assert (result.code, result.content) == (case.code, case.content)
        assert len(below.calls) == len(case.answers)
        _left(below)


async def arguments(contract: ExchangeContract) -> None:
    """What the first call below is made with, whatever the caller gives."""
    for case in contract.cases:
        below = Answers(case.answers)
        headers = dict(HEADERS)
        await whole(contract.wrap(below.exchange), METHOD, URL, headers, None)
        assert below.calls[0] == (METHOD, URL, headers | contract.adds, None)
        assert headers == HEADERS, "the caller's headers were changed"


async def open_in_the_block(contract: ExchangeContract) -> None:
    """The block below is open as long as the wrapper's, unless it opens late."""
    for case in contract.cases:
        below = Answers(case.answers)
        async with contract.wrap(below.exchange)(METHOD, URL, HEADERS, None) as (_, _, content):
            assert below.open == (not contract.opens_late)
            assert await anext(content)
            assert below.open == 1
        _left(below)


async def not_read(contract: ExchangeContract) -> None:
    """Not a piece of the body is taken."""
    for case in contract.cases:
        below = Answers(case.answers)
        async with contract.wrap(below.exchange)(METHOD, URL, HEADERS, None):
            pass
        assert contract.opens_late or below.read[-1] == 0, 'something was read that nobody asked for'
        _left(below)


async def error_in_the_block(contract: ExchangeContract) -> None:
    """Before and after the first piece; the block below is told."""
    for case in contract.cases:
        for pieces in range(2):
            below = Answers(case.answers)
            raised = Raised()
            with pytest.raises(Raised) as caught:
                async with contract.wrap(below.exchange)(METHOD, URL, HEADERS, None) as (_, _, content):
                    for _ in range(pieces):
                        await anext(content)
                    raise raised
            assert caught.value is raised, 'another error came out'
            _left(below)
            assert contract.opens_late or below.left_by[-1] is Raised, 'the block below was not told'


async def _expect(contract: ExchangeContract, below: Answers, raised: Exception) -> None:
    with pytest.raises(type(raised)) as caught:
        await whole(contract.wrap(below.exchange), METHOD, URL, HEADERS)
    assert caught.value is raised, 'another error came out'
    _left(below)


async def error_on_entering(contract: ExchangeContract) -> None:
    """At the first call below, the second, and so on."""
    for case in contract.cases:
        for count in range(len(case.answers)):
            raised = Raised()
            below = Answers([*case.answers[:count], raised])
            await _expect(contract, below, raised)
            assert len(below.calls) == count + 1, 'it was tried again'


async def error_in_the_body(contract: ExchangeContract) -> None:
    """After a piece of it."""
    for case in contract.cases:
        raised = Raised()
        last = case.last()
        broken = Response(last.code, last.headers, last.content[:1], raised)
        below = Answers([*case.answers[:-1], broken])
        await _expect(contract, below, raised)
        assert len(below.calls) == len(case.answers), 'it was tried again'


async def error_on_leaving(contract: ExchangeContract) -> None:
    """After all has gone well."""
    for case in contract.cases:
        raised = Raised()
        await _expect(contract, Answers(case.answers, leaving=raised), raised)


async def cancelled(contract: ExchangeContract) -> None:
    """At every suspension: below, in the wrapper, and in the caller's block."""
    for case in contract.cases:
        made: list[Answers] = []

        async def consume(case: Case = case, made: list[Answers] = made) -> None:
            below = Answers(case.answers)
            made.append(below)
            async with contract.wrap(below.exchange)(METHOD, URL, HEADERS, None) as (_, _, content):
                async for _ in content:
                    await asyncio.sleep(0)

        async def afterwards(made: list[Answers] = made) -> None:
            _left(made[-1])

        for late in (False, True):
            assert await sweep(consume, afterwards, late=late) > 2 * len(case.answers)


async def at_once(contract: ExchangeContract) -> None:
    """Two calls of one exchange, step by step beside each other."""
    for case in contract.cases:
        both: list[Answers] = []

        def exchange(*arguments: Any, both: list[Answers] = both) -> Any:
            """Answers to each of the callers, told apart by the task, in order."""
            task = asyncio.current_task()
            return both[int(str(task and task.get_name()))].exchange(*arguments)

        call = contract.wrap(exchange)
        both += [Answers(case.answers), Answers(case.answers)]
        tasks = [asyncio.create_task(whole(call, METHOD, URL, HEADERS), name=str(number)) for number in range(2)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, Whole) and result.content for result in results] == [case.content] * 2
        for below in both:
            _left(below)


async def no_cycles(contract: ExchangeContract) -> None:
    """The error below, in each of its places, and the one of the caller's block."""
    for case in contract.cases:
        last = case.last()
        broken = Response(last.code, last.headers, last.content[:1], Raised)
        for place, answer in (('entering', Raised), ('body', broken), ('block', last)):

            async def attempt(case: Case = case, answer: Answer = answer) -> weakref.ref[Raised]:
                call = contract.wrap(Answers([*case.answers[:-1], answer]).exchange)
                try:
                    async with call(METHOD, URL, HEADERS, None) as (_, _, content):
                        async for _ in content:
                            pass
                        raise Raised  # noqa: TRY301  to go through the block is what it is for
                except Raised as error:
                    return weakref.ref(error)

            gc.disable()
            try:
                found = await attempt()
                assert found() is None, f'an error at {place} is kept alive'
            finally:
                gc.enable()


CHECKS = (
    answered,
    arguments,
    open_in_the_block,
    not_read,
    error_in_the_block,
    error_on_entering,
    error_in_the_body,
    error_on_leaving,
    cancelled,
    at_once,
    no_cycles,
)
