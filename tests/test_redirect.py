"""What is asked for after a redirect, and what is not sent along."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lowhaio_redirect
from lowhaio_redirect import CREDENTIALS, BodyError, InsecureError, LocationError, TooManyError, redirected
from support.exchanges import Answers, Response, request, whole
from support.pools import small_pool
from support.scripted import Peer, scripted

URL = 'https://a.example/dir/page?q'


def to(location: bytes, code: bytes = b'302') -> Response:
    return Response(code, {b'location': location}, [b'moved'])


async def made() -> AsyncGenerator[bytes, None]:
    yield b'body'


async def followed(*answers: Response, method: bytes = b'GET', url: str = URL, **arguments: Any) -> Answers:
    """Do one exchange that ends with `hello`; what was asked for."""
    below = Answers([*answers, Response()])
    answered = await whole(redirected(below.exchange), method, url, **arguments)
    assert (answered.code, answered.content) == (b'200', b'hello')
    assert below.most_open == 1
    return below


LOCATIONS = [
    (b'https://b.example/', 'https://b.example/'),
    (b'https://b.example', 'https://b.example'),
    (b'HTTPS://B.example:8443/x?y', 'https://B.example:8443/x?y'),
    (b'//b.example/x', 'https://b.example/x'),
    (b'https://[::1]:8443/', 'https://[::1]:8443/'),
    (b'/x', 'https://a.example/x'),
    (b'x', 'https://a.example/dir/x'),
    (b'./x', 'https://a.example/dir/x'),
    (b'../x/./y/..', 'https://a.example/x/'),
    (b'../../../x', 'https://a.example/x'),
    (b'/..//b.example/x', 'https://a.example//b.example/x'),
    (b'x//y', 'https://a.example/dir/x//y'),
    (b'/x//../y', 'https://a.example/x/y'),
    (b'https://b.example/x/../y/./z/.', 'https://b.example/y/z/'),
    (b'//b.example?q', 'https://b.example?q'),
    (b'?r', 'https://a.example/dir/page?r'),
    (b'?', 'https://a.example/dir/page?'),
    (b'#f', 'https://a.example/dir/page?q#f'),
    (b'', 'https://a.example/dir/page?q'),
    (b'x:y', None),
    (b'./x:y', 'https://a.example/dir/x:y'),
    (b'/x?u=https://user@c.example/', 'https://a.example/x?u=https://user@c.example/'),
    (b'/%c3%bc%2F%zz', 'https://a.example/%c3%bc%2F%zz'),
    ('/ü'.encode(), 'https://a.example/%C3%BC'),
    (b'/\xfc', 'https://a.example/%FC'),
    ('https://bücher.example/'.encode(), None),
    (b'https://b.example\xff/', None),
    (b'ftp://b.example/', None),
    (b'javascript:alert(1)', None),
    (b'https:', None),
    (b'https:b.example', None),
    (b'https:/b.example', None),
    (b'https:///b.example', None),
    (b'///b.example', None),
    (b'//', None),
    (b'https://user@b.example/', None),
    (b'https://a.example:x@b.example/', None),
    (b'//user:password@b.example/', None),
    (b'https://a.example\\@b.example/', None),
    (b'/\\b.example/', None),
    (b'https://b.example:port/', None),
    (b'https://[::1/', None),
    (b'https://b%2eexample/', None),
    (b'/a, /b', None),
    (b'/a b', None),
    (b'/a\tb', None),
    (b'/a\0', None),
    (b'/<a>', None),
]


@pytest.mark.parametrize(('location', 'target'), LOCATIONS)
async def test_location(location: bytes, target: str | None) -> None:
    if target is None:
        with pytest.raises(LocationError, match=r'^the Location of https://a\.example/dir/page'):
            await followed(to(location))
    else:
        below = await followed(to(location))
        assert [url for _, url, _, _ in below.calls] == [URL, target]


async def test_a_name_in_other_letters_stays_with_relative_locations() -> None:
    below = await followed(to(b'/x'), url='https://bücher.example/', headers={b'cookie': b'1'})
    assert below.calls[1] == (b'GET', 'https://bücher.example/x', {b'cookie': b'1'}, None)


@given(location=st.binary(max_size=40))
def test_no_location_is_an_error_of_another_kind(location: bytes) -> None:
    """Whatever bytes they are, the next URL is http:// or https:// with a host, or they are refused."""
    below = Answers([to(location), Response()])
    call = whole(redirected(below.exchange), b'GET', URL)
    try:
        while True:
            call.send(None)
    except StopIteration:
        assert below.calls[1][1].startswith('https://')
        assert below.calls[1][1].isascii()
    except (LocationError, InsecureError):
        assert len(below.calls) == 1


METHODS = [  # and whether the body goes along
    (b'301', b'GET', b'GET', True),
    (b'301', b'HEAD', b'HEAD', True),
    (b'301', b'POST', b'GET', False),
    (b'301', b'PUT', b'PUT', True),
    (b'302', b'POST', b'GET', False),
    (b'302', b'DELETE', b'DELETE', True),
    (b'303', b'GET', b'GET', False),
    (b'303', b'HEAD', b'HEAD', True),
    (b'303', b'POST', b'GET', False),
    (b'303', b'PUT', b'GET', False),
    (b'307', b'POST', b'POST', True),
    (b'308', b'POST', b'POST', True),
    (b'308', b'HEAD', b'HEAD', True),
]


@pytest.mark.parametrize(('code', 'method', 'next_method', 'keeps_body'), METHODS)
async def test_method_and_body(code: bytes, method: bytes, next_method: bytes, keeps_body: bool) -> None:
    """Headers that speak of the body go where it goes."""
    headers = {b'content-type': b'text/plain', b'content-length': b'4', b'expect': b'100-continue', b'accept': b'*/*'}
    for body in (b'body', made):
        below = await followed(to(b'/x', code), method=method, headers=headers, body=body)
        expected = (headers, body) if keeps_body else ({b'accept': b'*/*'}, None)
        assert below.calls[1] == (next_method, 'https://a.example/x', *expected)


async def test_a_generator_can_be_sent_once() -> None:
    below = Answers([to(b'/x', b'307'), Response()])
    with pytest.raises(BodyError, match='307 asks for the body again: hand in a function'):
        await whole(redirected(below.exchange), b'POST', URL, {}, made())
    assert len(below.calls) == 1
    await followed(to(b'/x', b'303'), method=b'POST', body=made())


@pytest.mark.parametrize('code', [b'200', b'201', b'300', b'304', b'305', b'306', b'399', b'400', b'500'])
async def test_other_codes_are_handed_out(code: bytes) -> None:
    below = Answers([to(b'/x', code)])
    answered = await whole(redirected(below.exchange), b'GET', URL)
    assert (answered.code, answered.content) == (code, b'moved')


async def test_without_a_location_there_is_no_redirect() -> None:
    below = Answers([Response(b'302', {}, [b'here'])])
    assert (await whole(redirected(below.exchange), b'GET', URL)).content == b'here'


SECRETS = {b'authorization': b'1', b'cookie': b'2', b'proxy-authorization': b'3'}
OPEN = {b'accept': b'*/*', b'x-api-key': b'4'}


@pytest.mark.parametrize(
    ('url', 'location', 'same'),
    [
        ('https://a.example/', b'/x', True),
        ('https://a.example/', b'https://a.example/x', True),
        ('https://a.example/', b'https://A.EXAMPLE:443/x', True),
        ('https://a.example:443', b'//a.example?x', True),
        ('https://a.example:/', b'//a.example#x', True),
        ('http://a.example:80/', b'http://a.example/x', True),
        ('https://[::1]:443/', b'https://[::1]/x', True),
        ('https://a.example/', b'https://b.example/x', False),
        ('https://a.example/', b'https://www.a.example/x', False),
        ('https://www.a.example/', b'https://a.example/x', False),
        ('https://a.example/', b'https://a.example.evil.example/x', False),
        ('https://a.example/', b'https://a.example./x', False),
        ('https://a.example/', b'https://a.example:8443/x', False),
        ('http://a.example/', b'https://a.example/x', False),
        ('http://a.example:443/', b'https://a.example:443/x', False),
        ('https://[::1]/', b'https://[::2]/x', False),
    ],
)
async def test_credentials_stay_with_their_origin(url: str, location: bytes, same: bool) -> None:
    below = await followed(to(location), url=url, headers={**SECRETS, **OPEN, b'host': b'h'})
    assert below.calls[0][2] == {**SECRETS, **OPEN, b'host': b'h'}
    assert below.calls[1][2] == ({**SECRETS, **OPEN} if same else OPEN)


async def test_credentials_that_are_gone_do_not_come_back() -> None:
    headers = {**SECRETS, **OPEN}
    below = await followed(to(b'/x'), to(b'https://b.example/'), to(b'https://a.example/'), headers=headers)
    assert [headers for _, _, headers, _ in below.calls] == [{**SECRETS, **OPEN}] * 2 + [OPEN] * 2
    assert headers == {**SECRETS, **OPEN}


async def test_other_headers_can_be_credentials() -> None:
    below = Answers([to(b'https://b.example/'), Response()])
    call = redirected(below.exchange, credentials=CREDENTIALS | {b'x-api-key'})
    await whole(call, b'GET', URL, {**SECRETS, **OPEN})
    assert below.calls[1][2] == {b'accept': b'*/*'}


async def test_from_https_to_http_never() -> None:
    with pytest.raises(InsecureError, match=r'https://a\.example/x redirects to http://a\.example/$'):
        await followed(to(b'/x'), to(b'http://a.example/'))
    with pytest.raises(InsecureError):
        await followed(to(b'https://a.example/'), to(b'http://a.example/'), url='http://a.example/')
    await followed(to(b'http://b.example/'), to(b'https://b.example/'), url='http://a.example/')


async def test_a_url_that_the_exchange_below_takes_and_is_no_http() -> None:
    """Relative to what is neither, nothing has the same origin, and only an absolute Location leads anywhere."""
    below = await followed(to(b'https://b.example/'), url='app:/x', headers={**SECRETS})
    assert below.calls[1][1:3] == ('https://b.example/', {})
    with pytest.raises(LocationError):
        await followed(to(b'//b.example/'), url='app:/x')


@pytest.mark.parametrize(
    ('fragment', 'location', 'target'),
    [
        ('#f', b'/x', 'https://a.example/x#f'),
        ('#f', b'https://b.example/', 'https://b.example/#f'),
        ('#f', b'/x#g', 'https://a.example/x#g'),
        ('#f', b'/x#', 'https://a.example/x'),
        ('#f', b'', URL + '#f'),
        ('#f', b'?', 'https://a.example/dir/page?#f'),
        ('', b'/x#g', 'https://a.example/x#g'),
    ],
)
async def test_fragment(fragment: str, location: bytes, target: str) -> None:
    """RFC 9110 section 10.2.2 has the first and the third of these as its examples."""
    assert (await followed(to(location), url=URL + fragment)).calls[1][1] == target


@pytest.mark.parametrize('most', [0, 1, 10])
async def test_redirects_are_counted(most: int) -> None:
    below = Answers([to(b'/%d' % number) for number in range(most)] + [Response()])
    assert (await whole(redirected(below.exchange, max_redirects=most), b'GET', URL)).content == b'hello'
    below = Answers([to(b'/again')])
    with pytest.raises(TooManyError, match=f"more than {most} redirects, the last from .* to b'/again'"):
        await whole(redirected(below.exchange, max_redirects=most), b'GET', URL)
    assert len(below.calls) == most + 1


async def test_on_redirect_is_told_and_may_refuse() -> None:
    seen: list[str] = []
    below = Answers([to(b'/x'), to(b'/y#f'), Response()])
    await whole(redirected(below.exchange, on_redirect=seen.append), b'GET', URL)
    assert seen == ['https://a.example/x', 'https://a.example/y#f']

    class Refused(Exception):
        pass

    def refuse(url: str) -> None:
        raise Refused(url)

    below = Answers([to(b'/x')])
    with pytest.raises(Refused, match=r'^https://a\.example/x$'):
        await whole(redirected(below.exchange, on_redirect=refuse), b'GET', URL)
    assert (len(below.calls), below.open) == (1, 0)


@pytest.mark.parametrize('redirects', [0, 1, 3])
async def test_an_error_after_redirects_says_so(redirects: int) -> None:
    """It tells of the last step, of which nothing may be sent, while the first one was done."""

    class Failure(Exception):
        bytes_sent = 0

    failure = Failure()
    below = Answers([*[to(b'/x')] * redirects, failure])
    with pytest.raises(Failure) as caught:
        await whole(redirected(below.exchange), b'POST', URL)
    assert caught.value is failure
    assert getattr(failure, 'redirects', 0) == redirects


async def test_an_error_in_the_block_or_in_the_body_is_left_as_it_is() -> None:
    failure = Exception()
    with pytest.raises(Exception) as caught:
        await whole(redirected(Answers([to(b'/x'), Response(error=failure)]).exchange), b'GET', URL)
    assert caught.value is failure
    assert not hasattr(failure, 'redirects')


@pytest.mark.parametrize(('pieces', 'read'), [(0, 0), (64, 64), (66, 65), (1000, 65)])
async def test_a_small_body_of_a_redirect_is_read(pieces: int, read: int) -> None:
    """Of one KiB each."""
    below = await followed(Response(b'302', {b'location': b'/x'}, [bytes(1024)] * pieces))
    assert below.read[0] == read


@pytest.mark.parametrize(
    ('settings', 'error'),
    [({'max_redirects': -1}, ValueError), ({'max_redirects': 1.5}, TypeError), ({'max_redirects': True}, TypeError)],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match='max_redirects must be'):
        redirected(Answers([]).exchange, **settings)


async def test_the_connection_of_a_redirect_is_used_again() -> None:
    """By the request that follows, where it goes to the same place; and each redirect costs one request."""
    heads: list[bytes] = []

    def script(peer: Peer) -> None:
        for head in peer.heads():
            heads.append(head.split(b'\r\n')[0])
            if head.startswith(b'GET /end'):
                peer.send(b'HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nend')
            else:
                more = b'transfer-encoding: chunked\r\n\r\n5\r\nmoved\r\n0\r\n\r\n'
                peer.send(b'HTTP/1.1 302 Found\r\nlocation: /end\r\n' + more)

    async with scripted(script) as server, small_pool(max=1) as pool:
        call = redirected(request(pool))
        assert (await whole(call, b'GET', f'http://127.0.0.1:{server.port}/')).content == b'end'
    assert heads == [b'GET / HTTP/1.1', b'GET /end HTTP/1.1']
    assert server.accepted == 1


def test_errors_are_one_family() -> None:
    family = {lowhaio_redirect.TooManyError, lowhaio_redirect.LocationError, InsecureError, BodyError}
    assert set(lowhaio_redirect.RedirectError.__subclasses__()) == family
