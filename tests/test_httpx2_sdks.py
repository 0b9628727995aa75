"""The SDKs of openai and anthropic, as they are published, over the transport and against a server of our own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from lowhaio_httpx2 import AsyncLowhaioTransport
from support.models import Models, models

QUESTION: Any = [{'role': 'user', 'content': 'Say hello.'}]


@pytest.fixture
async def server() -> AsyncIterator[Models]:
    async with models() as running:
        yield running


@pytest.fixture
async def openai_client(server: Models) -> AsyncIterator[openai.AsyncOpenAI]:
    """As the documentation makes one."""
    http_client = httpx2.AsyncClient(transport=AsyncLowhaioTransport(), timeout=600)
    async with openai.AsyncOpenAI(api_key='none', base_url=f'{server.url}/v1', http_client=http_client) as client:
        yield client


@pytest.fixture
async def anthropic_client(server: Models) -> AsyncIterator[anthropic.AsyncAnthropic]:
    http_client = httpx2.AsyncClient(transport=AsyncLowhaioTransport(), timeout=600)
    async with anthropic.AsyncAnthropic(api_key='none', base_url=server.url, http_client=http_client) as client:
        yield client


async def ask_openai(client: openai.AsyncOpenAI) -> str:
    completion = await client.chat.completions.create(model='any', messages=QUESTION)
    return completion.choices[0].message.content or ''


async def ask_anthropic(client: anthropic.AsyncAnthropic) -> str:
    message = await client.messages.create(model='any', max_tokens=100, messages=QUESTION)
    return ''.join(block.text for block in message.content if block.type == 'text')


async def test_openai_completion(server: Models, openai_client: openai.AsyncOpenAI) -> None:
    assert await ask_openai(openai_client) == 'Hello!'
    (request,) = server.requests
    assert json.loads(request.body)['messages'] == QUESTION
    assert request.headers[b'authorization'] == b'Bearer none'


async def test_openai_stream(server: Models, openai_client: openai.AsyncOpenAI) -> None:
    """Event by event, and the connection is used again."""
    for _ in range(2):
        stream = await openai_client.chat.completions.create(model='any', messages=QUESTION, stream=True)
        pieces = [chunk.choices[0].delta.content async for chunk in stream]
        assert pieces == ['Hel', 'lo', '!']
    assert server.accepted == 1


async def test_openai_stream_that_is_cancelled(server: Models, openai_client: openai.AsyncOpenAI) -> None:
    """In the middle of it: the server learns, and the next request works."""
    server.pause_after = 1

    async def read() -> None:
        stream = await openai_client.chat.completions.create(model='any', messages=QUESTION, stream=True)
        async with stream:
            async for _ in stream:
                first.set()

    first = asyncio.Event()
    reading = asyncio.create_task(read())
    await first.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await server.left.wait()
    assert await ask_openai(openai_client) == 'Hello!'


async def test_openai_error_and_retry(server: Models, openai_client: openai.AsyncOpenAI) -> None:
    """Once overloaded, which the SDK tries again; and a connection that is lost without an answer."""
    server.failures += ['429', 'close']
    assert await ask_openai(openai_client) == 'Hello!'
    assert len(server.requests) == 3
    server.failures += ['400']
    with pytest.raises(openai.BadRequestError, match='not like that'):
        await ask_openai(openai_client)
    without_retries = openai_client.with_options(max_retries=0)
    server.failures += ['close']
    with pytest.raises(openai.APIConnectionError) as caught:
        await ask_openai(without_retries)
    assert isinstance(caught.value.__cause__, httpx2.RemoteProtocolError)


async def test_openai_timeout(server: Models, openai_client: openai.AsyncOpenAI) -> None:
    server.failures += ['silent']
    with pytest.raises(openai.APITimeoutError):
        await ask_openai(openai_client.with_options(max_retries=0, timeout=0.05))


async def test_openai_200_at_once(server: Models, openai_client: openai.AsyncOpenAI) -> None:
    answers = await asyncio.gather(*(ask_openai(openai_client) for _ in range(200)))
    assert answers == ['Hello!'] * 200
    assert server.accepted <= 100


async def test_anthropic_message(server: Models, anthropic_client: anthropic.AsyncAnthropic) -> None:
    assert await ask_anthropic(anthropic_client) == 'Hello!'
    assert json.loads(server.requests[0].body)['messages'] == QUESTION


async def test_anthropic_stream(server: Models, anthropic_client: anthropic.AsyncAnthropic) -> None:
    for _ in range(2):
        async with anthropic_client.messages.stream(model='any', max_tokens=100, messages=QUESTION) as stream:
            assert [text async for text in stream.text_stream] == ['Hel', 'lo', '!']
            assert (await stream.get_final_message()).stop_reason == 'end_turn'
    assert server.accepted == 1


async def test_anthropic_stream_that_is_left(server: Models, anthropic_client: anthropic.AsyncAnthropic) -> None:
    server.pause_after = 4
    async with anthropic_client.messages.stream(model='any', max_tokens=100, messages=QUESTION) as stream:
        async for text in stream.text_stream:
            assert text == 'Hel'
            break
    await server.left.wait()
    assert await ask_anthropic(anthropic_client) == 'Hello!'


async def test_anthropic_error_and_retry(server: Models, anthropic_client: anthropic.AsyncAnthropic) -> None:
    server.failures += ['529', 'close']
    assert await ask_anthropic(anthropic_client) == 'Hello!'
    assert len(server.requests) == 3
    server.failures += ['400']
    with pytest.raises(anthropic.BadRequestError, match='not like that'):
        await ask_anthropic(anthropic_client)


async def test_anthropic_200_at_once(server: Models, anthropic_client: anthropic.AsyncAnthropic) -> None:
    answers = await asyncio.gather(*(ask_anthropic(anthropic_client) for _ in range(200)))
    assert answers == ['Hello!'] * 200
