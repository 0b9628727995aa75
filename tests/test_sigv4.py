"""AWS Signature Version 4: what is signed, what is refused, and what botocore and a server say to it."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import itertools
import re
import unittest.mock
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import botocore.auth  # type: ignore[import-untyped]  # it has no types
import botocore.awsrequest  # type: ignore[import-untyped]
import botocore.credentials  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import lowhaio_chunked
import lowhaio_dict
import lowhaio_request
from lowhaio_nonssl import NonSSLContext
from lowhaio_sigv4 import UNSIGNED_PAYLOAD, Credentials, hash_of, sign
from support.pools import small_pool
from support.s3 import REGION, Moto

KEYS = Credentials(b'AKIDEXAMPLE', b'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY')
NOW = dt.datetime(2015, 8, 30, 12, 36, 0, tzinfo=dt.UTC)
NOTHING = hash_of(b'')


def signed(
    target: bytes = b'/',
    headers: Mapping[bytes, bytes] | None = None,
    body_hash: bytes = NOTHING,
    *,
    method: bytes = b'GET',
    host: bytes = b'example.amazonaws.com',
    credentials: Credentials = KEYS,
    region: bytes = b'us-east-1',
    service: bytes = b's3',
    now: dt.datetime | None = NOW,
) -> dict[bytes, bytes]:
    return sign(
        method, host, target, headers or {}, body_hash,
        credentials=credentials, region=region, service=service, now=now,
    )  # fmt: skip


def by_botocore(
    target: bytes,
    headers: Mapping[bytes, bytes],
    body_hash: bytes,
    *,
    method: bytes = b'GET',
    credentials: Credentials = KEYS,
    service: bytes = b's3',
) -> dict[bytes, bytes]:
    """The same by botocore, whose clock stands at `NOW`."""
    request = botocore.awsrequest.AWSRequest(
        method.decode(),
        f'https://example.amazonaws.com{target.decode()}',
        {name.decode(): value.decode() for name, value in headers.items()},
    )
    request.headers['X-Amz-Content-SHA256'] = body_hash.decode()
    kind: Any = botocore.auth.S3SigV4Auth if service.startswith(b's3') else botocore.auth.SigV4Auth

    class Auth(kind):  # type: ignore[misc]  # a class without types
        def payload(self, _: object) -> str:
            return body_hash.decode()

    token = credentials.session_token and credentials.session_token.decode()
    keys = botocore.credentials.Credentials(credentials.access_key.decode(), credentials.secret_key.decode(), token)
    with unittest.mock.patch('botocore.auth.get_current_datetime', return_value=NOW):
        Auth(keys, service.decode(), 'us-east-1').add_auth(request)
    names = ['X-Amz-Date', 'X-Amz-Content-SHA256', 'X-Amz-Security-Token', 'Authorization']
    return {name.lower().encode(): request.headers[name].encode() for name in names if name in request.headers}


# What AWS documents for S3, "Signature Calculations for the Authorization Header", with the keys that it uses there.
DOCUMENTED_KEYS = Credentials(b'AKIAIOSFODNN7EXAMPLE', b'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY')
DOCUMENTED = [
    pytest.param(
        b'GET', b'/test.txt', {b'range': b'bytes=0-9'}, b'',
        b'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41', id='get-object',
    ),
    pytest.param(
        b'PUT', b'/test%24file.text',
        {b'date': b'Fri, 24 May 2013 00:00:00 GMT', b'x-amz-storage-class': b'REDUCED_REDUNDANCY'},
        b'Welcome to Amazon S3.',
        b'98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd', id='put-object',
    ),
    pytest.param(
        b'GET', b'/?lifecycle', {}, b'',
        b'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543', id='get-lifecycle',
    ),
    pytest.param(
        b'GET', b'/?max-keys=2&prefix=J', {}, b'',
        b'34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7', id='list-objects',
    ),
]  # fmt: skip


@pytest.mark.parametrize(('method', 'target', 'headers', 'body', 'signature'), DOCUMENTED)
def test_signatures_that_aws_documents(
    method: bytes, target: bytes, headers: dict[bytes, bytes], body: bytes, signature: bytes
) -> None:
    now = dt.datetime(2013, 5, 24, tzinfo=dt.UTC)
    host = b'examplebucket.s3.amazonaws.com'
    found = signed(target, headers, hash_of(body), method=method, host=host, credentials=DOCUMENTED_KEYS, now=now)
    names = b';'.join(sorted([b'host', b'x-amz-content-sha256', b'x-amz-date', *headers]))
    assert found == {
        b'x-amz-date': b'20130524T000000Z',
        b'x-amz-content-sha256': hash_of(body),
        b'authorization': b'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, '
        b'SignedHeaders=%b, Signature=%b' % (names, signature),
    }


# No limits of time: the machine may be busy.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# What may stand in a path or a query as the URL of a program has it, escaped as S3 wants it.
texts = st.text(st.characters(codec='utf-8'), max_size=10)
pairs = st.lists(st.tuples(texts.filter(bool), texts), max_size=5)
tokens = st.text(st.sampled_from("abcxyz0189!#$%&'*+-.^_`|~"), min_size=1, max_size=10)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).map(str.strip)
ours = {'host', 'date', 'authorization', 'x-amz-date', 'x-amz-content-sha256', 'x-amz-security-token'}
request_headers = st.dictionaries(
    (tokens | st.sampled_from(sorted(botocore.auth.SIGNED_HEADERS_BLACKLIST))).filter(lambda name: name not in ours),
    values,
    max_size=6,
)
all_keys = st.builds(
    Credentials,
    st.from_regex(rb'[0-9A-Za-z]{1,20}', fullmatch=True),
    st.from_regex(rb'[!-~]{1,40}', fullmatch=True),
    st.none() | st.from_regex(rb'[!-~]{1,40}', fullmatch=True),
)
hashes = st.just(UNSIGNED_PAYLOAD) | st.binary(max_size=20).map(hash_of)


@unhurried
@given(path=texts, query=pairs, headers=request_headers, keys=all_keys, body_hash=hashes)
def test_s3_is_signed_as_botocore_does(
    path: str, query: list[tuple[str, str]], headers: dict[str, str], keys: Credentials, body_hash: bytes
) -> None:
    target = f'/{quote(path)}?{urlencode(query, quote_via=quote, safe="")}'.encode()
    sent = {name.encode(): value.encode() for name, value in headers.items()}
    found = signed(target, sent, body_hash, method=b'PUT', credentials=keys)
    assert found == by_botocore(target, sent, body_hash, method=b'PUT', credentials=keys)


@unhurried
@given(
    segments=st.lists(texts.filter(lambda text: text not in ('.', '..')), max_size=4),
    query=pairs, headers=request_headers, keys=all_keys,
)  # fmt: skip
def test_other_services_are_signed_as_botocore_does(
    segments: list[str], query: list[tuple[str, str]], headers: dict[str, str], keys: Credentials
) -> None:
    """Their paths are escaped twice, slashes in a segment too, and empty segments left out."""
    path = '/'.join(quote(segment, safe='') for segment in segments)
    target = f'/{path}?{urlencode(query, quote_via=quote, safe="")}'.encode()
    sent = {name.encode(): value.encode() for name, value in headers.items()}
    found = signed(target, sent, credentials=keys, service=b'execute-api')
    assert found == by_botocore(target, sent, NOTHING, credentials=keys, service=b'execute-api')


@pytest.mark.parametrize(
    'target',
    [b'/', b'/?', b'/?uploads', b'/?uploads=', b'/a?b&a&a=&a-=1&a=1&aa&A', b'//', b'/a//b/', b'/..', b'/a/./b',
     b'/a/%E2%82%AC%20%25?x=%2F%3D%26%2B'],
)  # fmt: skip
def test_targets_of_s3(target: bytes) -> None:
    """Whatever names an object, dots and slashes too; the query in order of its names, then of its values."""
    assert signed(target) == by_botocore(target, {}, NOTHING)


@pytest.mark.parametrize('target', [b'/', b'//', b'///a//b//', b'/a%2Fb', b'/a%20b/%25', b'/...', b'/?Action=X&A=1'])
def test_targets_of_other_services(target: bytes) -> None:
    assert signed(target, service=b'sts') == by_botocore(target, {}, NOTHING, service=b'sts')


@pytest.mark.parametrize('service', [b's3', b's3-outposts', b's3-object-lambda', b's3express', b'sts'])
def test_s3_has_rules_of_its_own(service: bytes) -> None:
    """Two paths that only other services take for the same."""
    assert (signed(b'//a', service=service) == signed(b'/a', service=service)) == (service == b'sts')


@pytest.mark.parametrize('service', [b's3', b's3-outposts', b's3-object-lambda', b's3express'])
@pytest.mark.parametrize('target', [b'/a%20b//c', b'/%25/../%E2%82%AC?session'])
def test_all_that_is_s3_is_signed_as_s3(service: bytes, target: bytes) -> None:
    assert signed(target, service=service) == by_botocore(target, {}, NOTHING, service=service)


def test_a_session_of_s3_express() -> None:
    """Its token is in a header of its own, which the caller hands in, and no session token of the keys."""
    token = b'token-of-the-session'
    keys = botocore.credentials.Credentials(KEYS.access_key.decode(), KEYS.secret_key.decode(), token.decode())
    request = botocore.awsrequest.AWSRequest('GET', 'https://example.amazonaws.com/a%20b//c', {})
    with unittest.mock.patch('botocore.auth.get_current_datetime', return_value=NOW):
        botocore.auth.S3ExpressAuth(keys, 's3express', 'us-east-1', identity_cache=None).add_auth(request)
    found = signed(b'/a%20b//c', {b'x-amz-s3session-token': token}, service=b's3express')
    assert request.headers['x-amz-s3session-token'].encode() == token
    assert found[b'authorization'].decode() == request.headers['Authorization']


ESCAPED_IN_ANOTHER_WAY = [
    b'/a b', b'/a!b', b"/a'b", b'/a(b)', b'/a*b', b'/a+b', b'/a,b', b'/a:b', b'/a;b', b'/a=b', b'/a@b', b'/a$b',
    b'/a&b', b'/a%2fb', b'/%e2%82%ac', b'/%41', b'/%7E', b'/%2D', b'/%2E', b'/%5F', b'/%30', b'/%', b'/%4', b'/%GG',
    b'/100%', b'/\xe2\x82\xac', b'/a\tb', b'/a\r\nb', b'/a\0b', b'/a\x7fb', b'/a#b', b'/a\\b', b'/a"b', b'/[a]',
    b'/{a}', b'', b'a', b'*', b'a/b', b'?a', b'http://example.com/', b'example.com:443',
]  # fmt: skip


@pytest.mark.parametrize('service', [b's3', b'sts'])
@pytest.mark.parametrize('target', ESCAPED_IN_ANOTHER_WAY)
def test_a_path_escaped_in_another_way_is_refused(target: bytes, service: bytes) -> None:
    with pytest.raises(ValueError, match=r'^not a path escaped as by urllib\.parse\.quote: '):
        signed(target, service=service)


@pytest.mark.parametrize('service', [b's3', b'sts'])
@pytest.mark.parametrize(
    'query',
    [b'a=b=c', b'a=b c', b'a=b+c', b'a=b/c', b'a=%2f', b'a=%41', b'a=%7E', b'a=b?c', b'a=%', b'a=,', b'a=:', b'a=\xff',
     b'=b', b'=', b'&', b'a&', b'&a', b'a&&b', b'a=1&=2', b'a b', b'a/b=c', b'a=b#c', b'a=b;c', b'a=\n', b'?'],
)  # fmt: skip
def test_a_query_escaped_in_another_way_is_refused(query: bytes, service: bytes) -> None:
    with pytest.raises(
        ValueError, match=r'^not a query escaped as by urlencode\(\.\.\., quote_via=quote, safe=\'\'\): '
    ):
        signed(b'/?' + query, service=service)


# The one way to write each byte of a path: itself if it is unreserved, or the slash, and else escaped with capitals.
UNRESERVED = b'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/'
WRITTEN = [bytes([byte]) if byte in UNRESERVED else b'%%%02X' % byte for byte in range(256)]
ESCAPED = re.compile(b'(?:%b)*' % b'|'.join(map(re.escape, WRITTEN)))
# Any bytes, and often such as come close to being escaped, or are.
pieces = st.binary(max_size=4) | st.sampled_from([b'%', b'2', b'F', b'f', b'%2F', b'%2f', b'%41', b'%25', b'/', b'~'])


@unhurried
@given(path=st.lists(pieces | st.sampled_from(WRITTEN), max_size=8).map(b''.join).filter(lambda path: b'?' not in path))
@example(path=b'%2F')
@example(path=b'%0A')
@example(path=b'%2520')
def test_a_path_is_taken_if_it_is_written_in_the_one_way(path: bytes) -> None:
    """Everything else is refused, a slash that is escaped too."""
    if ESCAPED.fullmatch(path):
        assert signed(b'/' + path) == by_botocore(b'/' + path, {}, NOTHING)
    else:
        with pytest.raises(
            ValueError, match=r'^not a path escaped as by |^a slash in an object.s key is not escaped: '
        ):
            signed(b'/' + path)


def test_an_escaped_slash_in_the_key_of_an_object_is_refused() -> None:
    """S3 reads it as a slash, and would sign it as one."""
    with pytest.raises(ValueError, match=r"^a slash in an object's key is not escaped: b'/a%2Fb'$"):
        signed(b'/a%2Fb')


@pytest.mark.parametrize('path', [b'/.', b'/..', b'/a/../b', b'/./a', b'/a/.', b'/a/..?b'])
def test_dots_in_the_path_of_other_services_are_refused(path: bytes) -> None:
    """RFC 3986 section 5.2.4 leaves a slash of `/a/.` at the end, and botocore does not."""
    with pytest.raises(ValueError, match=r'^a path with \. or \.\. as a segment, which the server may see without: '):
        signed(path, service=b'sts')


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        (b'Range', b'bytes=0-9', "not a name of a header in lower case: b'Range'"),
        (b'', b'1', "not a name of a header in lower case: b''"),
        (b'a b', b'1', "not a name of a header in lower case: b'a b'"),
        (b'a:b', b'1', "not a name of a header in lower case: b'a:b'"),
        (b'a\n', b'1', "not a name of a header in lower case: b'a\\n'"),
        (b'authorization', b'1', "b'authorization' is added by signing: hand in the headers without it"),
        (b'x-amz-date', b'1', "b'x-amz-date' is added by signing: hand in the headers without it"),
        (b'x-amz-security-token', b'1', "b'x-amz-security-token' is added by signing: hand in the headers without it"),
        (b'x-amz-content-sha256', b'1', "b'x-amz-content-sha256' is added by signing: hand in the headers without it"),
        (b'host', b'other', "the host header is b'other', and the host to sign for is b'example.amazonaws.com'"),
    ],
)
def test_headers_that_cannot_be_signed(name: bytes, value: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f'^{re.escape(message)}$'):
        signed(headers={name: value})


@pytest.mark.parametrize('value', [b' a', b'a ', b'\ta', b'a\tb', b'a\r\nb', b'a\n', b'\0', b'\x7f', b'\xc3\xbc', b' '])
def test_values_that_servers_read_in_more_than_one_way_are_refused(value: bytes) -> None:
    """Only where they are signed. The message does not show them: a header may hold the key of an object."""
    message = f"not a value that can be signed, as it is not visible ASCII: {len(value)} bytes of b'x-amz-meta-a'"
    with pytest.raises(ValueError, match=f'^{re.escape(message)}$'):
        signed(headers={b'x-amz-meta-a': value})
    assert signed(headers={b'user-agent': value}) == signed()


def test_the_host_may_be_among_the_headers() -> None:
    assert signed(headers={b'host': b'example.amazonaws.com'}) == signed()


def test_spaces_within_a_value_count_as_one() -> None:
    headers = {b'x-amz-meta-a': b'a   b  c'}
    assert signed(headers=headers) == signed(headers={b'x-amz-meta-a': b'a b c'})
    assert signed(headers=headers) == by_botocore(b'/', headers, NOTHING)


@pytest.mark.parametrize('name', [b'connection', b'expect', b'te', b'transfer-encoding', b'upgrade', b'user-agent'])
def test_what_changes_on_the_way_is_not_signed(name: bytes) -> None:
    assert signed(headers={name: b'1'}) == signed()


@pytest.mark.parametrize(
    'host', [b'localhost', b'127.0.0.1:9000', b'[::1]:9000', b'my_bucket.s3.example', b'[fe80::1]']
)
def test_hosts(host: bytes) -> None:
    assert b'SignedHeaders=host;' in signed(host=host)[b'authorization']


@pytest.mark.parametrize(
    ('argument', 'wrong'),
    [
        *[('method', value) for value in (b'', b'GE T', b'GET\n', b'GET /')],
        *[('host', value) for value in (b'', b'a b', b'a/b', b'user@host', b'a\r\nb', b'host:', b'::1', b'[::1')],
        *[('body_hash', value) for value in (b'', NOTHING[1:], NOTHING + b'0', NOTHING.upper(), NOTHING + b'\n')],
        *[(name, value) for name in ('region', 'service') for value in (b'', b'a/b', b'a b', b'a,b', b'a\n')],
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense_are_refused(argument: str, wrong: bytes) -> None:
    arguments: dict[str, Any] = {argument: wrong}
    with pytest.raises(ValueError, match=f'^not a {argument}: {re.escape(repr(wrong))}$'):
        signed(**arguments)


@pytest.mark.parametrize('argument', ['method', 'host', 'target', 'body_hash', 'region', 'service'])
@pytest.mark.parametrize('wrong', ['text', None, bytearray(b'GET')])
def test_arguments_that_are_not_bytes_are_refused(argument: str, wrong: Any) -> None:
    arguments: dict[str, Any] = {argument: wrong}
    with pytest.raises(TypeError, match=f'^{argument} must be bytes, not {type(wrong).__name__}: '):
        signed(**arguments)


def test_headers_that_are_not_bytes_are_refused() -> None:
    headers: Any = {'range': b'bytes=0-9'}
    with pytest.raises(TypeError, match=r"^name of a header in lower case must be bytes, not str: 'range'$"):
        signed(headers=headers)
    headers = {b'range': 'bytes=0-9'}
    with pytest.raises(TypeError, match=r"^the value of b'range' must be bytes, not str$"):
        signed(headers=headers)


def test_the_time_is_handed_in_with_its_zone() -> None:
    east = dt.timezone(dt.timedelta(hours=14))
    assert signed(now=NOW.astimezone(east)) == signed()
    assert signed()[b'x-amz-date'] == b'20150830T123600Z'
    assert b'/20150830/us-east-1/s3/aws4_request, ' in signed()[b'authorization']
    with pytest.raises(ValueError, match=r'^a time without a zone: datetime\.datetime\(2015, 8, 30, 12, 36\); '):
        signed(now=NOW.replace(tzinfo=None))


def test_without_a_time_it_is_the_one_of_the_clock() -> None:
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)
    found = signed(now=None)
    time = dt.datetime.strptime(found[b'x-amz-date'].decode(), '%Y%m%dT%H%M%S%z')
    assert before <= time <= dt.datetime.now(dt.UTC)
    assert signed(now=time) == found


def test_the_hash_of_a_body() -> None:
    assert hash_of(b'abc') == hashlib.sha256(b'abc').hexdigest().encode()
    assert signed(body_hash=hash_of(b'abc'))[b'x-amz-content-sha256'] == hash_of(b'abc')
    assert signed(body_hash=UNSIGNED_PAYLOAD)[b'x-amz-content-sha256'] == b'UNSIGNED-PAYLOAD'


def test_credentials_keep_their_secrets() -> None:
    keys = Credentials(b'access', b'secret', b'token')
    assert repr(keys) == "Credentials(access_key=b'access')"
    assert keys == Credentials(b'access', b'secret', b'token')
    assert keys != Credentials(b'access', b'secret')


@pytest.mark.parametrize('wrong', [b'', b'white space', b'at the end\n', b' a', b'tab\t', b'\xff', b'\0'])
@pytest.mark.parametrize('name', ['access_key', 'secret_key', 'session_token'])
def test_keys_that_are_none_are_refused(name: str, wrong: bytes) -> None:
    """As an environment variable that is empty, or a file that ends with a line."""
    arguments = {'access_key': b'access', 'secret_key': b'secret', 'session_token': b'token', name: wrong}
    message = f'{name} of {len(wrong)} bytes is empty, or has in it what no such key has'
    with pytest.raises(ValueError, match=f'^{re.escape(message)}$'):
        Credentials(**arguments)


@pytest.mark.parametrize('access_key', [b'AKIDEXAMPLE', b'tenant$user', b'user@example.com', b'!"#(+-.09:;<>?[^`{~'])
def test_access_keys_of_other_servers(access_key: bytes) -> None:
    keys = Credentials(access_key, b'secret')
    assert signed(credentials=keys) == by_botocore(b'/', {}, NOTHING, credentials=keys)


@pytest.mark.parametrize('wrong', [b'a/b', b'a,b', b'a=b'])
def test_access_keys_that_would_be_read_as_two(wrong: bytes) -> None:
    with pytest.raises(ValueError, match=r'^access_key of 3 bytes is empty, or has in it what no such key has$'):
        Credentials(wrong, b'secret')


@pytest.mark.parametrize(
    ('name', 'wrong'),
    [('access_key', 'text'), ('access_key', None), ('secret_key', 'text'), ('secret_key', None), ('session_token', '')],
)
def test_keys_that_are_not_bytes_are_refused(name: str, wrong: Any) -> None:
    arguments: Any = {'access_key': b'access', 'secret_key': b'secret', name: wrong}
    with pytest.raises(TypeError, match=f'^{name} must be bytes, not {type(wrong).__name__}$'):
        Credentials(**arguments)


# moto, which checks signatures.


class Client:
    """Signed requests to moto."""

    def __init__(self, exchange: Any, url: str, credentials: Credentials) -> None:
        self._exchange = exchange
        self._url = url
        self._credentials = credentials

    async def request(
        self,
        method: bytes,
        target: str,
        body: bytes | None = None,
        headers: Mapping[bytes, bytes] | None = None,
        body_hash: bytes | None = None,
        service: bytes = b's3',
    ) -> tuple[bytes, bytes]:
        """The code, and the body."""
        headers = headers or {}
        signature = sign(
            method, urlsplit(self._url).netloc.encode(), target.encode(), headers, body_hash or hash_of(body or b''),
            credentials=self._credentials, region=REGION.encode(), service=service,
        )  # fmt: skip
        async with self._exchange(method, self._url + target, {**headers, **signature}, body) as (code, _, content):
            return code, b''.join([piece async for piece in content])


@contextlib.asynccontextmanager
async def client_of(moto: Moto, credentials: Credentials) -> AsyncIterator[Client]:
    async with small_pool() as pool:
        exchange = lowhaio_request.exchange(
            pool,
            https=None,
            http=NonSSLContext(),
            collect=lowhaio_dict.collect,
            serialize=lowhaio_dict.serialize,
            encode=lowhaio_chunked.encode,
            decode=lowhaio_chunked.decode,
        )
        yield Client(exchange, moto.url, credentials)


NAMES = ['key', 'a folder/and a file', 'ü€😀', '1+1=2', '~tilde', 'q?#%&;:@$,', "!*'()", 'a%20b', '100%']


async def test_objects_of_all_names_are_put_got_and_listed(moto: Moto) -> None:
    async with client_of(moto, moto.user) as client:
        bucket = new_bucket()
        assert (await client.request(b'PUT', bucket, location(REGION)))[0] == b'200'
        for name in NAMES:
            assert (await client.request(b'PUT', f'{bucket}/{quote(name)}', name.encode()))[0] == b'200'
        for name in NAMES:
            assert await client.request(b'GET', f'{bucket}/{quote(name)}') == (b'200', name.encode())
        query = urlencode({'list-type': 2, 'prefix': 'a folder/'}, quote_via=quote, safe='')
        code, listed = await client.request(b'GET', f'{bucket}?{query}')
        assert (code, re.findall(b'<Key>(.*?)</Key>', listed)) == (b'200', [b'a folder/and a file'])


async def test_a_session_token_is_part_of_the_signature(moto: Moto) -> None:
    async with client_of(moto, moto.role) as client:
        bucket = new_bucket()
        assert (await client.request(b'PUT', bucket, location(REGION)))[0] == b'200'
        assert (await client.request(b'PUT', f'{bucket}/key', b'1', {b'x-amz-meta-a': b'a  b'}))[0] == b'200'
        assert await client.request(b'GET', f'{bucket}/key', headers={b'range': b'bytes=0-0'}) == (b'206', b'1')


async def test_a_payload_that_is_not_signed(moto: Moto) -> None:
    async with client_of(moto, moto.user) as client:
        bucket = new_bucket()
        await client.request(b'PUT', bucket, location(REGION))
        assert (await client.request(b'PUT', f'{bucket}/key', b'1', body_hash=UNSIGNED_PAYLOAD))[0] == b'200'


async def test_a_multipart_upload(moto: Moto) -> None:
    """Three requests that differ in their queries."""
    part = b'1' * 5 * 1024 * 1024
    async with client_of(moto, moto.user) as client:
        bucket = new_bucket()
        key = f'{bucket}/key'
        await client.request(b'PUT', bucket, location(REGION))
        _, begun = await client.request(b'POST', f'{key}?uploads')
        upload = re.findall('<UploadId>(.*?)</UploadId>', begun.decode())[0]
        body = ''
        for number, content in enumerate((part, b'the end'), 1):
            query = urlencode({'partNumber': number, 'uploadId': upload}, quote_via=quote, safe='')
            assert (await client.request(b'PUT', f'{key}?{query}', content))[0] == b'200'
            etag = hashlib.md5(content).hexdigest()
            body += f'<Part><PartNumber>{number}</PartNumber><ETag>"{etag}"</ETag></Part>'
        body = f'<CompleteMultipartUpload>{body}</CompleteMultipartUpload>'
        query = urlencode({'uploadId': upload}, quote_via=quote, safe='')
        code, ended = await client.request(b'POST', f'{key}?{query}', body.encode())
        assert (code, b'CompleteMultipartUploadResult' in ended) == (b'200', True)
        assert await client.request(b'GET', key) == (b'200', part + b'the end')


async def test_another_service(moto: Moto) -> None:
    async with client_of(moto, moto.user) as client:
        form = {b'content-type': b'application/x-www-form-urlencoded'}
        body = b'Action=GetCallerIdentity&Version=2011-06-15'
        code, answer = await client.request(b'POST', '/', body, form, service=b'sts')
        assert (code, b':user/user</Arn>' in answer) == (b'200', True)


async def test_another_secret_is_refused(moto: Moto) -> None:
    """That this server looks at all."""
    async with client_of(moto, Credentials(moto.user.access_key, b'guessed')) as client:
        for service in (b's3', b'sts'):
            code, answer = await client.request(b'GET', '/?Action=GetCallerIdentity', service=service)
            assert (code, b'SignatureDoesNotMatch' in answer) == (b'403', True)


BUCKETS = itertools.count()


def new_bucket() -> str:
    return f'/bucket-of-test-sigv4-{next(BUCKETS)}'


def location(region: str) -> bytes:
    """The body that makes a bucket."""
    bucket = f'<LocationConstraint>{region}</LocationConstraint>'
    return f'<CreateBucketConfiguration>{bucket}</CreateBucketConfiguration>'.encode()
