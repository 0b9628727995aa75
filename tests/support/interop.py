"""Servers that nobody here wrote, each with all that `tests/test_real_servers.py` asks for.

Every server is a process on the loopback interface, with a third port on which it closes an idle connection soon. A
`Site` says what it has under which path: the programs differ in what they can do, and in how they are told to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .certificates import Files
from .real import HOST, free_ports, running

LARGE = 4_000_000
APACHE_MODULES = '/usr/lib/apache2/modules'
PATH = '/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin'


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


def path_of(program: str) -> str | None:
    """Where a program is, if it is installed."""
    return shutil.which(program, path=PATH)


@contextlib.contextmanager
def granian(files: Files, folder: Path) -> Iterator[Site]:
    """granian; one process for each port."""
    http, https, impatient = free_ports(3)
    command = [sys.executable, '-m', 'granian', '--interface', 'asgi', '--host', HOST, '--no-ws', '--http', '1']
    options = {
        http: [],
        https: ['--ssl-certificate', str(files.certificate), '--ssl-keyfile', str(files.key)],
        impatient: ['--http1-header-read-timeout', '300'],
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
    keepalive_timeout 300ms;
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
        command = ['nginx', '-p', str(folder), '-c', str(folder / 'nginx.conf'), '-e', str(folder / 'error.log')]
        command[0] = str(path_of('nginx'))
        with running(command, folder / 'nginx.log', *ports.values()):
            yield _site(_STATIC, http, https, impatient)


def _site(like: Site, http: int, https: int, impatient: int) -> Site:
    return dataclasses.replace(like, http_port=http, https_port=https, impatient_port=impatient)


_HAPROXY = """
global
  maxconn 1000
defaults
  mode http
  timeout connect 10s
  timeout client 30s
  timeout server 30s
frontend patient
  bind 127.0.0.1:{http}
  bind 127.0.0.1:{https} ssl crt "{pem}"
  timeout http-keep-alive 60s
  compression algo gzip
  compression type text/plain
  default_backend granian
frontend impatient
  bind 127.0.0.1:{impatient}
  timeout http-keep-alive 300ms
  default_backend granian
backend granian
  server granian 127.0.0.1:{behind}
"""


@contextlib.contextmanager
def haproxy(files: Files, folder: Path) -> Iterator[Site]:
    """HAProxy in front of granian."""
    http, https, impatient = free_ports(3)
    pem = folder / 'haproxy.pem'
    pem.write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
    with granian(files, folder) as behind:
        ports = {'http': http, 'https': https, 'impatient': impatient}
        (folder / 'haproxy.conf').write_text(_HAPROXY.format(pem=pem, behind=behind.http_port, **ports))
        command = [str(path_of('haproxy')), '-db', '-f', str(folder / 'haproxy.conf')]
        with running(command, folder / 'haproxy.log', *ports.values()):
            yield Site(http, https, impatient)


# What a server runs (RFC 3875): a response without a length, and the size and the digest of what was sent.
_CGI = {
    'chunked': r"""#!/bin/sh
printf 'Content-Type: text/html\n\n'
head -c 300000 /dev/zero | tr '\0' x
""",
    'echo': r"""#!/bin/sh
body=$(mktemp)
cat > "$body"
printf 'Content-Type: text/html\n\n%d %s' "$(wc -c < "$body")" "$(sha256sum < "$body" | cut -d ' ' -f 1)"
rm "$body"
""",
}

_APACHE = """
ServerName localhost
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
ScriptSock {folder}/cgi.socket
User {user}
Group {group}
{modules}
Listen 127.0.0.1:{http}
Listen 127.0.0.1:{https}
Listen 127.0.0.1:{impatient}
KeepAliveTimeout 60
MaxKeepAliveRequests 0
DocumentRoot {folder}
AddOutputFilterByType DEFLATE text/plain
Redirect 204 /status/204
ScriptAlias /cgi/ {folder}/cgi/
<Directory {folder}>
  Require all granted
</Directory>
<VirtualHost 127.0.0.1:{https}>
  SSLEngine on
  SSLCertificateFile {files.certificate}
  SSLCertificateKeyFile {files.key}
</VirtualHost>
<VirtualHost 127.0.0.1:{impatient}>
  KeepAliveTimeout 300ms
</VirtualHost>
"""
_APACHE_MODULES = ('mpm_event', 'authz_core', 'alias', 'cgid', 'deflate', 'dir', 'filter', 'mime', 'ssl')


@contextlib.contextmanager
def apache(files: Files, _: Path) -> Iterator[Site]:
    """Apache httpd. It serves nothing as root."""
    http, https, impatient = free_ports(3)
    user, group = ('www-data', 'www-data') if getpass.getuser() == 'root' else (getpass.getuser(), f'#{os.getgid()}')
    with _files() as folder:
        (folder / 'cgi').mkdir()
        for name, program in _CGI.items():
            (folder / 'cgi' / name).write_text(program)
            (folder / 'cgi' / name).chmod(0o755)
        modules = '\n'.join(f'LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so' for name in _APACHE_MODULES)
        ports = {'http': http, 'https': https, 'impatient': impatient}
        names = {'user': user, 'group': group, 'modules': modules}
        (folder / 'types').write_text('text/plain txt\ntext/html html\n')
        conf = _APACHE.format(folder=folder, files=files, **names, **ports) + f'TypesConfig {folder}/types\n'
        (folder / 'apache.conf').write_text(conf)
        command = [str(path_of('apache2')), '-d', str(folder), '-f', str(folder / 'apache.conf'), '-DFOREGROUND']
        with running(command, folder / 'apache.log', *ports.values()):
            like = dataclasses.replace(_STATIC, chunked=b'/cgi/chunked', upload=(b'POST', b'/cgi/echo'), digests=True)
            yield _site(like, http, https, impatient)


SERVERS: dict[str, Callable[[Files, Path], contextlib.AbstractContextManager[Site]]] = {
    'granian': granian,
    'hypercorn': hypercorn,
    'nginx': nginx,
    'haproxy': haproxy,
    'apache2': apache,
}
FROM_DEBIAN = ('nginx', 'haproxy', 'apache2')
"""Programs that may be missing on a machine, but not in CI."""
