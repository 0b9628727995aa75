"""S3 on this machine: moto, in a process of its own, and the little of it that the documentation talks to.

Both check every signature, by what botocore makes of the request.

`moto(folder)` runs the first with one user, who may do everything, and one role that this user has taken, with a
session token. Without a signature that fits, nothing can be done from then on. A test has to make buckets with names of
its own: there is one server for all tests.

`objects(credentials)` is a script for `support.scripted`: put, get, delete and list objects, each in one request.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import re
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import botocore.auth  # type: ignore[import-untyped]  # it has no types
import botocore.awsrequest  # type: ignore[import-untyped]
import botocore.credentials  # type: ignore[import-untyped]
import botocore.session  # type: ignore[import-untyped]

from lowhaio_sigv4 import Credentials

from .real import HOST, free_ports, running
from .scripted import Peer, Script

REGION = 'eu-central-1'
NOBODY = Credentials(b'nobody', b'nothing')

_EVERYTHING = json.dumps({'Version': '2012-10-17', 'Statement': [{'Effect': 'Allow', 'Action': '*', 'Resource': '*'}]})
_EVERYBODY = json.dumps(
    {
        'Version': '2012-10-17',
        'Statement': [{'Effect': 'Allow', 'Principal': {'AWS': '*'}, 'Action': 'sts:AssumeRole'}],
    }
)


@dataclass(frozen=True)
class Moto:
    """Where it listens, on 127.0.0.1, and who may use it."""

    port: int
    user: Credentials
    role: Credentials

    @property
    def url(self) -> str:
        return f'http://{HOST}:{self.port}'

    def client(self) -> contextlib.AbstractContextManager[Any]:
        """botocore's client of S3, for what a test has to prepare and to look at afterwards."""
        return _client('s3', self.url, self.user)

    def make_bucket(self, name: str) -> None:
        with self.client() as client:
            client.create_bucket(Bucket=name, CreateBucketConfiguration={'LocationConstraint': REGION})


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[Moto]:
    """moto, until the end of the block."""
    (port,) = free_ports(1)
    command = [sys.executable, '-m', 'moto.server', '--host', HOST, '--port', str(port)]
    with running(command, folder / 'moto.log', port):
        yield _with_signatures(port)


def _with_signatures(port: int) -> Moto:
    url = f'http://{HOST}:{port}'
    with _client('iam', url) as iam:
        iam.create_user(UserName='user')
        iam.put_user_policy(UserName='user', PolicyName='everything', PolicyDocument=_EVERYTHING)
        user = iam.create_access_key(UserName='user')['AccessKey']
        role = iam.create_role(RoleName='role', AssumeRolePolicyDocument=_EVERYBODY)['Role']
        iam.put_role_policy(RoleName='role', PolicyName='everything', PolicyDocument=_EVERYTHING)
    with _client('sts', url) as sts:
        taken = sts.assume_role(RoleArn=role['Arn'], RoleSessionName='session')['Credentials']
    # Nothing is allowed without a signature from the next action on, the 0th.
    plain = {'content-type': 'text/plain'}
    urllib.request.urlopen(urllib.request.Request(f'{url}/moto-api/reset-auth', b'0', plain)).close()
    return Moto(
        port,
        Credentials(user['AccessKeyId'].encode(), user['SecretAccessKey'].encode()),
        Credentials(taken['AccessKeyId'].encode(), taken['SecretAccessKey'].encode(), taken['SessionToken'].encode()),
    )


@contextlib.contextmanager
def _client(service: str, url: str, credentials: Credentials = NOBODY) -> Iterator[Any]:
    client = botocore.session.Session().create_client(
        service,
        REGION,
        endpoint_url=url,
        aws_access_key_id=credentials.access_key.decode(),
        aws_secret_access_key=credentials.secret_key.decode(),
    )
    try:
        yield client
    finally:
        client.close()


def objects(credentials: Credentials) -> Script:
    """A script that keeps objects for as long as it lives, in buckets that need not be made."""
    kept: dict[str, bytes] = {}

    def script(peer: Peer) -> None:
        for head in peer.heads():
            request_line, *lines = head[:-4].decode().split('\r\n')
            method, target, _ = request_line.split(' ')
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(':') for line in lines)}
            body = peer.recv_exactly(int(headers.get('content-length', '0')))
            status, content = _answer(
                kept, method, target, body, _objection(credentials, method, target, headers, body)
            )
            length = f'content-length: {len(content)}\r\n' if status != '204 No Content' else ''
            peer.send(f'HTTP/1.1 {status}\r\n{length}\r\n'.encode() + content)

    return script


def _answer(kept: dict[str, bytes], method: str, target: str, body: bytes, objection: str) -> tuple[str, bytes]:
    parts = urlsplit(target)
    path, query = unquote(parts.path), dict(parse_qsl(parts.query))
    if objection:
        return '403 Forbidden', f'<Error><Code>{objection}</Code></Error>'.encode()
    match method:
        case 'PUT':
            kept[path] = body
            return '200 OK', b''
        case 'DELETE':
            kept.pop(path, None)
            return '204 No Content', b''
        case 'GET' if query.get('list-type') == '2':
            keys = sorted(key.removeprefix(f'{path}/') for key in kept if key.startswith(f'{path}/{query["prefix"]}'))
            listed = ''.join(f'<Contents><Key>{quote(key)}</Key></Contents>' for key in keys)
            return '200 OK', f'<ListBucketResult>{listed}</ListBucketResult>'.encode()
        case 'GET' if path in kept:
            return '200 OK', kept[path]
        case _:
            return '404 Not Found', b'<Error><Code>NoSuchKey</Code></Error>'


def _objection(credentials: Credentials, method: str, target: str, headers: dict[str, str], body: bytes) -> str:
    """Why S3 would refuse the request; empty if it would not."""
    authorization = headers.get('authorization', '')
    match = re.fullmatch(
        r'AWS4-HMAC-SHA256 Credential=(\w+)/(\d{8})/([\w-]+)/s3/aws4_request, SignedHeaders=(\S+), Signature=(\w{64})',
        authorization,
    )
    if not match or match[1] != credentials.access_key.decode():
        return 'AccessDenied'
    if headers['x-amz-content-sha256'] not in ('UNSIGNED-PAYLOAD', hashlib.sha256(body).hexdigest()):
        return 'XAmzContentSHA256Mismatch'
    time = headers['x-amz-date']
    age = dt.datetime.now(dt.UTC) - dt.datetime.strptime(time, '%Y%m%dT%H%M%S%z')
    if abs(age) > dt.timedelta(minutes=15) or time[:8] != match[2]:
        return 'RequestTimeTooSkewed'
    signed = {name: headers[name] for name in match[4].split(';')}
    request = botocore.awsrequest.AWSRequest(method, f'https://{headers["host"]}{target}', signed)
    request.context['timestamp'] = time
    keys = botocore.credentials.Credentials(credentials.access_key.decode(), credentials.secret_key.decode())
    auth = botocore.auth.S3SigV4Auth(keys, 's3', match[3])
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return '' if expected == match[5] else 'SignatureDoesNotMatch'
