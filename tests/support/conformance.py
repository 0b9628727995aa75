"""The contract of a body wrapper, as checks that take any wrapper.

A wrapper takes an async generator of bytes and returns one. Whoever writes one describes it by a `Contract`, which
holds a table of what goes in and what comes out, and runs all checks:

    CONTRACT = Contract(
        my_wrapper,
        [
            Case(b'what the generator below yields', b'what the wrapper makes of it'),
            Case(b'what it refuses', error=MyError),
        ],
    )


    @pytest.mark.parametrize('check', CHECKS)
    async def test_my_wrapper_keeps_the_contract(check: Check) -> None:
        await check(CONTRACT)

What is in a case goes in whole, byte by byte, and split in every other way that a check needs, so cases do well to be
short: 100 bytes find more than 100 kilobytes. In a wrapper that keeps the contract,

- the output does not depend on how the input is split, and empty input pieces change nothing;
- every piece of output is bytes, and none is empty;
- an error from below comes out as it went in, the same object;
- the generator below has been closed, once, when the wrapper has ended, has raised, was closed or was cancelled;
- nothing is taken from below before somebody asks for a piece, and a wrapper that is closed before that leaves the
  generator below as it was. (Python runs no line of a generator that was never started, its `finally` neither.)

A wrapper that finds the end of the message by itself (`finds_end`) also sends what it was given too much to the
generator below, once, and before it yields the last piece if the end arrived together with that. All others send
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest

from .stepping import sweep

Check = Callable[['Contract'], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """What the generator below yields in all, and what becomes of it: `content`, or an `error`."""

    received: bytes
    content: bytes = b''
    error: type[Exception] | None = None


@dataclass(frozen=True)
class Contract:
    """A wrapper, and what is expected of it.

    read: undoes the wrapper, where the output is not always the same bytes; what it returns is compared with `content`.
    """

    wrap: Callable[[AsyncGenerator[bytes, Any]], AsyncGenerator[bytes, Any]]
    cases: Sequence[Case]
    finds_end: bool = False
    read: Callable[[bytes], bytes] = bytes

    @property
    def good_cases(self) -> list[Case]:
        return [case for case in self.cases if case.error is None]


class Below:
    """The generator below, `body`: it suspends before every piece, and it records what is done to it.

    With `error` it ends by raising that. With `obedient=False` it goes on after it was told that the message has ended.
    With `objection` it answers that by raising.
    """

    def __init__(
        self,
        pieces: Sequence[bytes],
        *,
        error: Exception | None = None,
        objection: Exception | None = None,
        obedient: bool = True,
    ) -> None:
        self.started = False
        self.closed = 0
        self.sent: list[object] = []
        self._pieces = pieces
        self._error = error
        self._objection = objection
        self._obedient = obedient
        self.body = self._generate()

    async def _generate(self) -> AsyncGenerator[bytes, object]:
        self.started = True
        try:
            for piece in self._pieces:
                await asyncio.sleep(0)
                surplus = yield piece
                if surplus is not None:
                    self.sent.append(surplus)
                    if self._objection:
                        raise self._objection
                    if self._obedient:
                        return
            if self._error:
                raise self._error
        finally:
            self.closed += 1
            await asyncio.sleep(0)


async def body_of(*pieces: bytes) -> AsyncGenerator[bytes, None]:
    """A body that yields these pieces, for tests that go beyond the contract."""
    for piece in pieces:
        yield piece


async def _pieces(contract: Contract, below: Below) -> list[bytes]:
    """All pieces that the wrapper yields."""
    pieces: list[bytes] = []
    try:
        async with aclosing(contract.wrap(below.body)) as wrapper:
            async for piece in wrapper:
                assert type(piece) is bytes, f'a piece that is not bytes: {piece!r}'
                assert piece, 'an empty piece'
                pieces.append(piece)
                await asyncio.sleep(0)
    except BaseException:
        assert below.closed == 1, 'the generator below was not closed after an error'
        raise
    else:
        assert below.closed == 1, 'the generator below was not closed at the end'
    finally:
        await below.body.aclose()
    return pieces


async def _expect(contract: Contract, case: Case, below: Below, sent: bytes = b'') -> None:
    """The wrapper yields or raises what the case says, and sends below what it should."""
    if case.error:
        with pytest.raises(case.error) as caught:
            await _pieces(contract, below)
        assert caught.type is case.error
        return
    pieces = await _pieces(contract, below)
    assert contract.read(b''.join(pieces)) == case.content
    assert below.sent == ([sent] if contract.finds_end else []), 'the generator below was told something else'


def _bytes(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


async def whole(contract: Contract) -> None:
    """All of the input at once."""
    for case in contract.cases:
        await _expect(contract, case, Below([case.received]))


async def byte_by_byte(contract: Contract) -> None:
    """The input one byte at a time."""
    for case in contract.cases:
        await _expect(contract, case, Below(_bytes(case.received)))


async def in_two(contract: Contract) -> None:
    """The input in two pieces, at every place where it can be split."""
    for case in contract.cases:
        for i in range(len(case.received)):
            await _expect(contract, case, Below([case.received[:i], case.received[i:]]))


async def with_empty_pieces(contract: Contract) -> None:
    """Empty pieces before, after and between the bytes of the input."""
    for case in contract.cases:
        pieces = [piece for byte in _bytes(case.received) for piece in (b'', byte)]
        await _expect(contract, case, Below([*pieces, b'']))


async def with_surplus(contract: Contract) -> None:
    """More bytes after the end of the message, split at every place: what has arrived with the end is sent below."""
    if contract.finds_end:
        for case in contract.good_cases:
            end = len(case.received)
            received = case.received + b'surplus'
            for i in range(1, len(received) + 1):
                below = Below([received[:i], received[i:]])
                await _expect(contract, case, below, received[end : i if i >= end else None])


async def end_before_last_piece(contract: Contract) -> None:
    """Whoever stops at the last piece has told the generator below, if the end arrived with that piece."""
    if contract.finds_end:
        for case in contract.good_cases:
            below = Below([case.received])
            async with aclosing(contract.wrap(below.body)) as wrapper:
                content = b''
                while content != case.content:
                    content += await anext(wrapper)
                assert below.sent or not content, 'the last piece came before the generator below was told of the end'


async def deaf_below(contract: Contract) -> None:
    """A generator below that ignores what it is sent, and goes on."""
    for case in contract.good_cases:
        more = _bytes(b'more') if contract.finds_end else []
        await _expect(contract, case, Below([case.received, *more], obedient=False))


async def error_below(contract: Contract) -> None:
    """An error from below, after every byte of the input, and in answer to being told of the end."""
    for case in contract.good_cases:
        error = ZeroDivisionError('from below')
        belows = [Below(_bytes(case.received[:i]), error=error) for i in range(len(case.received))]
        if contract.finds_end:
            belows.append(Below([case.received], objection=error))
        for below in belows:
            with pytest.raises(ZeroDivisionError) as caught:
                await _pieces(contract, below)
            assert caught.value is error


async def closed_early(contract: Contract) -> None:
    """Closed after the first piece, after the second, and so on."""
    for case in contract.good_cases:
        count = len(await _pieces(contract, Below(_bytes(case.received))))
        for i in range(1, count + 1):
            below = Below(_bytes(case.received))
            try:
                async with aclosing(contract.wrap(below.body)) as wrapper:
                    for _ in range(i):
                        await anext(wrapper)
                assert below.closed == 1, f'the generator below was not closed, after {i} of {count} pieces'
            finally:
                await below.body.aclose()


async def cancelled(contract: Contract) -> None:
    """Cancelled at every suspension: of the generator below, of the wrapper, and of whoever takes the pieces."""
    for case in contract.good_cases:
        step = max(1, len(case.received) // 8)
        pieces = [case.received[i : i + step] for i in range(0, len(case.received), step)]

        async def consume(pieces: list[bytes] = pieces) -> None:
            await _pieces(contract, Below(pieces))

        async def afterwards() -> None:
            """What is to be checked, `_pieces` has."""

        assert await sweep(consume, afterwards) > len(pieces)


async def never_started(contract: Contract) -> None:
    """Closed before the first piece was asked for: the generator below is still there for somebody else."""
    for case in contract.good_cases:
        below = Below([case.received])
        await contract.wrap(below.body).aclose()
        assert not below.started, 'something was taken from below, or it was closed'
        await _expect(contract, case, below)


CHECKS = (
    whole,
    byte_by_byte,
    in_two,
    with_empty_pieces,
    with_surplus,
    end_before_last_piece,
    deaf_below,
    error_below,
    closed_early,
    cancelled,
    never_started,
)
