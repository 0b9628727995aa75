"""Servers that nobody here wrote, each with all that `tests/test_real_servers.py` asks for.

Every server is a process on the loopback interface, with a third port on which it closes an idle connection soon. A
`Site` says what it has under which path: the programs differ in what they can do, and in how they are told to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import programs
from .certificates import Files
from .real import HOST, free_ports, running

LARGE = 4_000_000


@dataclass(frozen=True)
class Site:
    """Ports on 127.0.0.1, and what is there. `/` is always `hello`, `large` is LARGE times `x`."""

    http_port: int
    https_port: int
    impatient_port: int
    large: bytes = b'/bytes/4000000'
    chunked: bytes = b'/chunked/300000?size=1000'
    """`x` in chunks."""
    packed: bytes = b'/gzip'
    """`hello`, many times, gzip-compressed."""
    no_content: bytes = b'/status/204'
    not_modified: tuple[bytes, bytes] = (b'/status/304', b'')
    """Path, and the header lines that ask for a 304."""
    upload: tuple[bytes, bytes] = (b'POST', b'/echo')
    digests: bool = True
    """Whether the answer to an upload is its size and digest. If not, it can be downloaded again."""


@contextlib.contextmanager
def granian(files: Files, folder: Path) -> Iterator[Site]:
    """granian; one process for each port."""
    http, https, impatient = free_ports(3)
    command = [sys.executable, '-m', 'granian', '--interface', 'asgi', '--host', HOST, '--no-ws', '--http', '1']
    options = {
        http: [],
        https: ['--ssl-certificate', str(files.certificate), '--ssl-keyfile', str(files.key)],
        impatient: ['--http1-header-read-timeout', '1000'],
    }
    with contextlib.ExitStack() as stack:
        for port, more in options.items():
            arguments = [*command, '--port', str(port), *more, 'support.app:app']
            stack.enter_context(running(arguments, folder / f'granian-{port}.log', port))
        yield Site(http, https, impatient)


@contextlib.contextmanager
def hypercorn(files: Files, folder: Path) -> Iterator[Site]:
    """hypercorn; its shortest idle timeout is a second."""
    http, https, impatient = free_ports(3)
    command = [sys.executable, '-m', 'hypercorn', 'support.app:app']
    tls = ['--bind', f'{HOST}:{https}', '--certfile', str(files.certificate), '--keyfile', str(files.key)]
    patient = [*command, '--insecure-bind', f'{HOST}:{http}', *tls, '--keep-alive', '60']
    short = [*command, '--bind', f'{HOST}:{impatient}', '--keep-alive', '1']
    with (
        running(patient, folder / 'hypercorn.log', http, https),
        running(short, folder / 'hypercorn-impatient.log', impatient),
    ):
        yield Site(http, https, impatient)


@contextlib.contextmanager
def _files() -> Iterator[Path]:
    """A folder that servers can read whoever they run as."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / 'index.html').write_bytes(b'hello')
        (folder / 'large').write_bytes(b'x' * LARGE)
        (folder / 'hello.txt').write_bytes(b'hello' * 10_000)
        (folder / 'chunked.html').write_bytes(b'x' * 300_000)
        (folder / 'upload').mkdir(mode=0o777)
        yield folder


_STATIC = Site(
    0,
    0,
    0,
    large=b'/large',
    chunked=b'/chunked.html',
    packed=b'/hello.txt',
    not_modified=(b'/large', b'if-modified-since: %b\r\n'),
    upload=(b'PUT', b'/upload/file'),
    digests=False,
)

_NGINX = """
daemon off;
user {user};
pid "{folder}/nginx.pid";
worker_processes 1;
error_log "{folder}/error.log";
events {{ }}
http {{
  access_log off;
  client_body_temp_path "{folder}/body";
  proxy_temp_path "{folder}/proxy";
  fastcgi_temp_path "{folder}/fastcgi";
  uwsgi_temp_path "{folder}/uwsgi";
  scgi_temp_path "{folder}/scgi";
  client_max_body_size 0;
  types {{ text/plain txt; text/html html; }}
  if_modified_since before;
  server {{
    listen 127.0.0.1:{http};
    listen 127.0.0.1:{https} ssl;
    ssl_certificate "{files.certificate}";
    ssl_certificate_key "{files.key}";
    root "{folder}";
    location / {{ }}
    location = /hello.txt {{ gzip on; gzip_types text/plain; }}
    location = /chunked.html {{ ssi on; }}
    location = /status/204 {{ return 204; }}
    location /upload/ {{ dav_methods PUT; }}
  }}
  server {{
    listen 127.0.0.1:{impatient};
    root "{folder}";
    keepalive_timeout 1s;
  }}
}}
"""


@contextlib.contextmanager
def nginx(files: Files, _: Path) -> Iterator[Site]:
    """nginx, with one worker."""
    http, https, impatient = free_ports(3)
    with _files() as folder:
        ports = {'http': http, 'https': https, 'impatient': impatient}
        (folder / 'nginx.conf').write_text(_NGINX.format(folder=folder, files=files, user=getpass.getuser(), **ports))
        program = programs.needed('nginx')
        command = [program, '-p', str(folder), '-c', str(folder / 'nginx.conf'), '-e', str(folder / 'error.log')]
        with running(command, folder / 'nginx.log', *ports.values()):
            yield _site(_STATIC, http, https, impatient)


def _site(like: Site, http: int, https: int, impatient: int) -> Site:
    return dataclasses.replace(like, http_port=http, https_port=https, impatient_port=impatient)


SERVERS: dict[str, Callable[[Files, Path], contextlib.AbstractContextManager[Site]]] = {
    'granian': granian,
    'hypercorn': hypercorn,
    'nginx': nginx,
}
