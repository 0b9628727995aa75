"""The programs of `make run`, run as a user runs them."""

import os
import re
import subprocess
import sys
from pathlib import Path

from support.real import RealServer

EXAMPLES = Path(__file__).parent.parent / 'examples'


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-W', 'error', str(EXAMPLES / program), *arguments]
    # The resolvers of a machine may be there and never answer.
    environment = os.environ | {'RES_OPTIONS': 'timeout:1 attempts:1'}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_six_functions() -> None:
    """Three requests over one connection, every body whole."""
    ended = run('six_functions.py')
    assert (ended.returncode, ended.stderr) == (0, '')
    assert ended.stdout.count('status 200\n') == 3
    assert re.findall(r'\n  ([\d,]+) bytes of body', ended.stdout) == ['7', '21', '100,000,000']
    assert ended.stdout.endswith('connections opened for the three requests: 1\n')


def test_composed() -> None:
    """A response that is compressed and chunked comes out as it went in."""
    ended = run('composed.py')
    assert (ended.returncode, ended.stderr) == (0, '')
    assert '  transfer-encoding: chunked\n' in ended.stdout
    assert '  content-encoding: gzip\n' in ended.stdout
    assert ended.stdout.endswith('42,890 bytes of body, the first line: This is line 0 of a compressed response.\n')


def test_certificate_of_an_unknown_authority(granian: RealServer) -> None:
    """One line that says what was wrong, and exit status 1."""
    ended = run('composed.py', f'https://localhost:{granian.https_port}/')
    assert ended.returncode == 1
    assert ended.stdout == ''
    assert re.fullmatch(r'UnsentTLSError: .*certificate verify failed: .*\n', ended.stderr)


def test_host_that_has_no_address() -> None:
    """The same for what is no error of lowhaio."""
    ended = run('composed.py', 'https://host.invalid/')
    assert ended.returncode == 1
    assert ended.stderr.count('\n') == 1
