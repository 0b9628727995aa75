"""The program `examples/s3_client.py`, run as a user runs it, against moto."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lowhaio_sigv4 import Credentials
from support.lines import lines_of_code
from support.s3 import REGION, Moto

PROGRAM = Path(__file__).parent.parent / 'examples' / 's3_client.py'


def test_the_example_is_short() -> None:
    assert lines_of_code(PROGRAM.read_text()) < 80


def run(moto: Moto, keys: Credentials, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith('AWS_')}
    environment |= {
        'AWS_ENDPOINT_URL': moto.url,
        'AWS_REGION': REGION,
        'AWS_ACCESS_KEY_ID': keys.access_key.decode(),
        'AWS_SECRET_ACCESS_KEY': keys.secret_key.decode(),
        'AWS_SESSION_TOKEN': (keys.session_token or b'').decode(),
    }
    command = [sys.executable, '-W', 'error', str(PROGRAM), *arguments]
    return subprocess.run(command, capture_output=True, check=False, env=environment, **options)


def test_objects_are_put_listed_and_got(moto: Moto, tmp_path: Path) -> None:
    """With a session token; the names are such as have to be escaped."""
    moto.make_bucket('example')
    (tmp_path / 'file').write_bytes(b'Hello!\n')
    names = ['a b/100%.txt', 'a b/ü+&=.txt']
    for name in names:
        put = run(moto, moto.role, 'put', f'example/{name}', str(tmp_path / 'file'))
        assert (put.returncode, put.stdout, put.stderr) == (0, b'', b'')
    assert run(moto, moto.role, 'list', 'example').stdout.decode().splitlines() == names
    assert run(moto, moto.role, 'list', 'example', 'a b/ü').stdout.decode().splitlines() == names[1:]
    got = run(moto, moto.role, 'get', f'example/{names[1]}')
    assert (got.returncode, got.stdout, got.stderr) == (0, b'Hello!\n', b'')


@pytest.mark.parametrize('size', [0, 8 * 1024 * 1024, 20_000_000])
def test_a_stream_is_uploaded_in_parts(moto: Moto, size: int) -> None:
    """An empty one, one that is full, and three; the server says by its tag how many there were."""
    bucket = f'example-{size}'
    moto.make_bucket(bucket)
    stream = os.urandom(size)
    uploaded = run(moto, moto.user, 'upload', f'{bucket}/key', input=stream)
    assert (uploaded.returncode, uploaded.stdout, uploaded.stderr) == (0, b'', b'')
    assert run(moto, moto.user, 'get', f'{bucket}/key').stdout == stream
    with moto.client() as client:
        tag = client.head_object(Bucket=bucket, Key='key')['ETag']
        assert 'Uploads' not in client.list_multipart_uploads(Bucket=bucket)
    assert tag.endswith(f'-{max(1, -(-size // (8 * 1024 * 1024)))}"')


def test_an_upload_that_fails_leaves_no_parts(moto: Moto) -> None:
    """The input cannot be read."""
    moto.make_bucket('example-failing')
    with Path('/proc/self/mem').open('rb') as unreadable:
        failed = run(moto, moto.user, 'upload', 'example-failing/key', stdin=unreadable)
    assert failed.returncode == 1
    assert failed.stderr.endswith(b'OSError: [Errno 5] Input/output error\n')
    with moto.client() as client:
        assert 'Uploads' not in client.list_multipart_uploads(Bucket='example-failing')
        assert client.list_objects_v2(Bucket='example-failing')['KeyCount'] == 0


def test_an_error_shows_what_the_server_said(moto: Moto) -> None:
    moto.make_bucket('example-errors')
    missing = run(moto, moto.user, 'get', 'example-errors/missing')
    assert (missing.returncode, missing.stdout) == (1, b'')
    assert b'RuntimeError: GET example-errors/missing: status 404 ' in missing.stderr
    assert b'<Code>NoSuchKey</Code>' in missing.stderr
    stranger = run(moto, Credentials(moto.user.access_key, b'guessed'), 'list', 'example-errors')
    assert stranger.returncode == 1
    assert b'<Code>SignatureDoesNotMatch</Code>' in stranger.stderr
