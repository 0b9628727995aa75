"""Servers that nobody here wrote: granian, hypercorn and nginx.

Each is a process on the loopback interface with one port for HTTP and one for HTTPS. It is there once both ports accept
connections, and ends with its block. granian and hypercorn serve `app`; nginx answers the same requests where it can:
`/`, `/headers`, `/gzip`, `/echo` of `hello`, `/status/204`, `/status/304`, and `/bytes/N` for the sizes in
`NGINX_SIZES`. nginx compresses `/compressed` itself, in chunks.
"""

from __future__ import annotations

import contextlib
import getpass
import itertools
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import programs
from .certificates import Files

PATIENCE = 30.0
"""Seconds for a server to start or to stop."""

HOST = '127.0.0.1'
NGINX_SIZES = (0, 1, 1000, 1_000_000, 20_000_000)
TESTS = Path(__file__).parent.parent


@dataclass(frozen=True)
class RealServer:
    """Where it listens, on 127.0.0.1."""

    name: str
    http_port: int
    https_port: int


@contextlib.contextmanager
def granian(files: Files, folder: Path) -> Iterator[RealServer]:
    """granian; it serves either HTTP or HTTPS, so there are two.

    It serves as many connections at once as its backlog holds, by default 1,024. Those over that wait, unaccepted,
    until others close. It closes one that has been idle for as long as a request's head may take to arrive.
    """
    http_port, https_port = free_ports(2)
    command = [sys.executable, '-m', 'granian', '--interface', 'asgi', '--host', HOST, '--no-ws', '--http', '1']
    command += ['--backlog', '4096', '--http1-header-read-timeout', '60000']
    tls = ['--ssl-certificate', str(files.certificate), '--ssl-keyfile', str(files.key)]
    with (
        running([*command, '--port', str(http_port), 'support.app:app'], folder / 'granian-http.log', http_port),
        running([*command, '--port', str(https_port), *tls, 'support.app:app'], folder / 'granian.log', https_port),
    ):
        yield RealServer('granian', http_port, https_port)


@contextlib.contextmanager
def hypercorn(files: Files, folder: Path) -> Iterator[RealServer]:
    """hypercorn."""
    http_port, https_port = free_ports(2)
    command = [sys.executable, '-m', 'hypercorn', 'support.app:app']
    plain = ['--insecure-bind', f'{HOST}:{http_port}']
    tls = ['--bind', f'{HOST}:{https_port}', '--certfile', str(files.certificate), '--keyfile', str(files.key)]
    with running([*command, *plain, *tls], folder / 'hypercorn.log', http_port, https_port):
        yield RealServer('hypercorn', http_port, https_port)


@contextlib.contextmanager
def nginx(files: Files, folder: Path) -> Iterator[RealServer]:
    """nginx, with one worker."""
    program = programs.needed('nginx')
    http_port, https_port = free_ports(2)
    (folder / 'files').mkdir()
    for size in NGINX_SIZES:
        (folder / 'files' / str(size)).write_bytes(b'x' * size)
    (folder / 'files' / 'compressed.txt').write_bytes(b'hello' * 100_000)
    ports = {'http': http_port, 'https': https_port}
    (folder / 'nginx.conf').write_text(_NGINX.format(folder=folder, files=files, user=getpass.getuser(), **ports))
    command = [program, '-p', str(folder), '-c', str(folder / 'nginx.conf'), '-e', str(folder / 'error.log')]
    with running(command, folder / 'nginx.log', http_port, https_port):
        yield RealServer('nginx', http_port, https_port)


_HEADERS = '\n'.join(f'      add_header x-header-{number} value-{number};' for number in range(20))
_NGINX = """
daemon off;
user {user};
pid "{folder}/nginx.pid";
worker_processes 1;
error_log "{folder}/error.log";
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path "{folder}/body";
  proxy_temp_path "{folder}/proxy";
  fastcgi_temp_path "{folder}/fastcgi";
  uwsgi_temp_path "{folder}/uwsgi";
  scgi_temp_path "{folder}/scgi";
  client_max_body_size 0;
  keepalive_requests 1000000;
  server {{
    listen 127.0.0.1:{http};
    listen 127.0.0.1:{https} ssl;
    ssl_certificate "{files.certificate}";
    ssl_certificate_key "{files.key}";
    location = / {{ return 200 hello; }}
    # nginx can't count: this is the answer to `hello`.
    location = /echo {{ return 200 "5 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"; }}
    location = /headers {{
      return 200 "";
HEADERS
    }}
    location = /compressed {{
      gzip on;
      gzip_types text/plain;
      types {{ text/plain txt; }}
      alias "{folder}/files/compressed.txt";
    }}
    location = /status/204 {{ return 204; }}
    location = /status/304 {{ return 304; }}
    location /bytes/ {{ alias "{folder}/files/"; }}
  }}
}}
""".replace('HEADERS', _HEADERS)


def _number_of_this_run() -> int:
    """A number that no other run of the tests has: this process takes a name that goes with it, and keeps it."""
    for number in range(200):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
            sock.bind(f'\0lowhaio tests {number}')
            sock.detach()
            return number
    raise RuntimeError('200 other runs of the tests are under way')


# Between a port being found free and being listened on, nobody else may take it. So each run of the tests has a hundred
# of its own, below those that the kernel gives out by itself, and goes round in them.
_FIRST_PORT = 10_000 + 100 * _number_of_this_run()
_PORTS = itertools.cycle(range(_FIRST_PORT, _FIRST_PORT + 100))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    return list(itertools.islice(filter(_is_free, itertools.islice(_PORTS, 100)), count))


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def running(command: list[str], log: Path, *ports: int) -> Iterator[None]:
    """A process, from when it listens on the ports to the end of the block."""
    with log.open('wb') as output:
        process = subprocess.Popen(command, cwd=TESTS, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            for port in ports:
                _wait_for(port, process, log)
            yield
        finally:
            try:
                _end(process)
            finally:
                process.kill()
                process.wait()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and again every second: tinyproxy loses a signal that comes right before it waits for clients."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
    process.wait(0)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((HOST, port), PATIENCE).close()
            return
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > deadline:
                message = f'{process.args!r} does not listen on port {port}:\n{log.read_text(errors="replace")}'
                raise RuntimeError(message) from None
            time.sleep(0.02)  # the kernel has no event for a port that another process opens
