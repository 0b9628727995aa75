"""moto, the AWS that runs on this machine, as a process of its own. It checks every signature.

`moto(folder)` runs it with one user, who may do everything, and one role that this user has taken, with a session
token. Without a signature that fits, nothing can be done from then on. A test has to make buckets with names of its
own: there is one server for all tests.
"""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session  # type: ignore[import-untyped]  # it has no types

from lowhaio_sigv4 import Credentials

from .real import HOST, free_ports, running

REGION = 'eu-central-1'

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
def _client(service: str, url: str) -> Iterator[Any]:
    client = botocore.session.Session().create_client(
        service, REGION, endpoint_url=url, aws_access_key_id='nobody', aws_secret_access_key='nothing'
    )
    try:
        yield client
    finally:
        client.close()
