"""Servers from Debian's packages: Apache httpd, HAProxy with Node behind it, lighttpd, Caddy and Node.

    with SERVERS['caddy'].start(files, 500) as server: ...

Each is a process in the foreground, on the loopback interface, with one port for HTTP and one for HTTPS. Its
configuration is written anew, into a folder that ends with it. It closes a connection that was idle for the
milliseconds given, lighttpd for whole seconds. All have the same resources:

| resource | what it is                                                                        |
|----------|-----------------------------------------------------------------------------------|
| /        | `hello`                                                                           |
| /large   | LARGE times `x`, with an entity tag and a date, and 304 for who knows either      |
| /chunked | 300,000 times `x`, of a length that the server does not know before the end       |
| /text    | `hello`, 10,000 times, gzip-compressed for who accepts that                       |
| /204     | no content                                                                        |
| /refused | 403 to whatever is asked of it, before the body of the request is read            |
| /digest  | the SHA-256, as hexadecimal digits, of the body of the request                    |
"""

from __future__ import annotations

import contextlib
import getpass
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import programs
from .certificates import Files
from .real import HOST, RealServer, free_ports, running

LARGE = 4_000_000
APPLICATION = Path(__file__).with_name('application.js')


@dataclass(frozen=True)
class Program:
    """A server: the programs and files that it takes, and how to start it.

    `start` takes a certificate, and the milliseconds for which a connection may be idle.
    """

    needs: tuple[str, ...]
    start: Callable[[Files, int], contextlib.AbstractContextManager[RealServer]]

    @property
    def missing(self) -> list[str]:
        """What is not installed of that."""
        return [name for name in self.needs if not Path('/', name).is_file() and not programs.path_of(name)]


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder that can be read by whomever a server runs as, unlike those that pytest makes."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


# What a server has to run (RFC 3875).
_SCRIPTS = {
    '204': "printf 'Status: 204 No Content\\n\\n'",
    'chunked': "printf 'Content-Type: text/html\\n\\n'; head -c 300000 /dev/zero | tr '\\0' x",
    'digest': 'printf \'Content-Type: text/html\\n\\n%.64s\' "$(sha256sum)"',
}


def _write_content(folder: Path) -> None:
    """Files and scripts for those that serve files and run scripts."""
    (folder / 'content').mkdir()
    (folder / 'content' / 'index.html').write_bytes(b'hello')
    (folder / 'content' / 'large').write_bytes(b'x' * LARGE)
    (folder / 'content' / 'text.txt').write_bytes(b'hello' * 10_000)
    os.utime(folder / 'content' / 'large', (784111777, 784111777))  # of a file just written the tag may change
    (folder / 'scripts').mkdir()
    for name, command in _SCRIPTS.items():
        script = folder / 'scripts' / name
        script.write_text(f'#!/bin/sh\n{command}\n')
        script.chmod(0o755)


_APACHE = """
ServerName localhost
ServerRoot {folder}
PidFile {folder}/pid
ErrorLog {folder}/error.log
ScriptSock {folder}/scripts.socket
User {user}
Group {group}
{modules}
TypesConfig {folder}/types
AddType text/plain .txt
Listen 127.0.0.1:{http}
Listen 127.0.0.1:{https}
KeepAliveTimeout {idle}ms
MaxKeepAliveRequests 0
DocumentRoot {folder}/content
Alias /text {folder}/content/text.txt
ScriptAliasMatch ^/(204|chunked|digest)$ {folder}/scripts/$1
AddOutputFilterByType DEFLATE text/plain
<Directory {folder}>
  Require all granted
</Directory>
<Location /refused>
  Require all denied
</Location>
<VirtualHost 127.0.0.1:{https}>
  SSLEngine on
  SSLCertificateFile {files.certificate}
  SSLCertificateKeyFile {files.key}
</VirtualHost>
"""
_APACHE_MODULES = ('mpm_event', 'authz_core', 'alias', 'cgid', 'deflate', 'dir', 'filter', 'mime', 'ssl')


@contextlib.contextmanager
def apache(files: Files, idle: int) -> Iterator[RealServer]:
    """Apache httpd. Started as root it goes on as Debian's user for it, as it serves nothing as root."""
    http, https = free_ports(2)
    root = os.getuid() == 0
    with _folder() as folder:
        _write_content(folder)
        (folder / 'types').touch()
        modules = [f'LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so' for name in _APACHE_MODULES]
        configuration = _APACHE.format(
            folder=folder,
            files=files,
            http=http,
            https=https,
            idle=idle,
            user='www-data' if root else getpass.getuser(),
            group='www-data' if root else f'#{os.getgid()}',
            modules='\n'.join(modules),
        )
        (folder / 'configuration').write_text(configuration)
        command = [programs.needed('apache2'), '-f', str(folder / 'configuration'), '-D', 'FOREGROUND']
        with running(command, folder / 'log', http, https):
            yield RealServer('apache', http, https)


_LIGHTTPD = """
server.modules = ("mod_access", "mod_alias", "mod_cgi", "mod_deflate", "mod_openssl")
server.document-root = "{folder}/content"
server.upload-dirs = ("{folder}")
server.errorlog = "{folder}/error.log"
server.bind = "127.0.0.1"
server.port = {http}
server.max-keep-alive-idle = {seconds}
server.stream-response-body = 1
index-file.names = ("index.html")
mimetype.assign = (".html" => "text/html", ".txt" => "text/plain", "" => "application/octet-stream")
deflate.mimetypes = ("text/plain")
deflate.allowed-encodings = ("gzip")
$HTTP["url"] == "/refused" {{
  url.access-deny = ("")
}}
alias.url = ("/text" => "{folder}/content/text.txt")
$HTTP["url"] =~ "^/(204|chunked|digest)$" {{
  alias.url = ("/" => "{folder}/scripts/")
  cgi.assign = ("" => "")
}}
$SERVER["socket"] == "127.0.0.1:{https}" {{
  ssl.engine = "enable"
  ssl.pemfile = "{files.certificate}"
  ssl.privkey = "{files.key}"
}}
"""
_LIGHTTPD_PACKAGED_APART = ('/usr/lib/lighttpd/mod_deflate.so', '/usr/lib/lighttpd/mod_openssl.so')


@contextlib.contextmanager
def lighttpd(files: Files, idle: int) -> Iterator[RealServer]:
    """lighttpd. It counts its patience in seconds."""
    http, https = free_ports(2)
    with _folder() as folder:
        _write_content(folder)
        seconds = max(1, idle // 1000)
        configuration = _LIGHTTPD.format(folder=folder, files=files, http=http, https=https, seconds=seconds)
        (folder / 'configuration').write_text(configuration)
        with running(
            [programs.needed('lighttpd'), '-D', '-f', str(folder / 'configuration')], folder / 'log', http, https
        ):
            yield RealServer('lighttpd', http, https)


_CADDY = """
{{
  admin off
  auto_https off
  servers {{
    protocols h1
    timeouts {{
      idle {idle}ms
    }}
  }}
}}
(site) {{
  bind 127.0.0.1
  root * {folder}/content
  encode gzip
  rewrite /text /text.txt
  handle /204 {{
    respond 204
  }}
  handle /refused {{
    respond 403
  }}
  handle /chunked {{
    header Content-Type application/octet-stream
    respond {chunked}
  }}
  handle /digest {{
    templates
    respond `{{{{placeholder "http.request.body" | sha256sum}}}}`
  }}
  handle {{
    file_server
  }}
}}
http://:{http} {{
  import site
}}
https://:{https} {{
  import site
  tls {files.certificate} {files.key}
}}
"""


@contextlib.contextmanager
def caddy(files: Files, idle: int) -> Iterator[RealServer]:
    """Caddy."""
    http, https = free_ports(2)
    with _folder() as folder:
        _write_content(folder)
        chunked = 'x' * 300_000
        configuration = _CADDY.format(folder=folder, files=files, http=http, https=https, idle=idle, chunked=chunked)
        (folder / 'configuration').write_text(configuration)
        home = [f'XDG_DATA_HOME={folder}', f'XDG_CONFIG_HOME={folder}']
        run = [programs.needed('caddy'), 'run', '--adapter', 'caddyfile', '--config', str(folder / 'configuration')]
        with running(['/usr/bin/env', *home, *run], folder / 'log', http, https):
            yield RealServer('caddy', http, https)


@contextlib.contextmanager
def node(files: Files, idle: int) -> Iterator[RealServer]:
    """Node's own HTTP server, with `application.js`."""
    http, https = free_ports(2)
    with _folder() as folder:
        arguments = [http, https, files.certificate, files.key, idle, LARGE]
        with running([programs.needed('node'), str(APPLICATION), *map(str, arguments)], folder / 'log', http, https):
            yield RealServer('node', http, https)


_HAPROXY = """
defaults
  mode http
  timeout connect 30s
  timeout client 30s
  timeout server 30s
frontend both
  bind 127.0.0.1:{http}
  bind 127.0.0.1:{https} ssl crt "{folder}/pem"
  timeout http-keep-alive {idle}ms
  http-request deny if {{ path /refused }}
  compression algo gzip
  compression type text/plain
  compression offload
  default_backend node
backend node
  server node {host}:{behind}
"""


@contextlib.contextmanager
def haproxy(files: Files, idle: int) -> Iterator[RealServer]:
    """HAProxy, with Node behind it. It compresses by itself."""
    http, https = free_ports(2)
    with _folder() as folder, node(files, 60_000) as behind:
        (folder / 'pem').write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
        configuration = _HAPROXY.format(
            folder=folder, http=http, https=https, idle=idle, host=HOST, behind=behind.http_port
        )
        (folder / 'configuration').write_text(configuration)
        with running(
            [programs.needed('haproxy'), '-db', '-f', str(folder / 'configuration')], folder / 'log', http, https
        ):
            yield RealServer('haproxy', http, https)


SERVERS = {
    'apache': Program(('apache2',), apache),
    'haproxy': Program(('haproxy', 'node'), haproxy),
    'lighttpd': Program(('lighttpd', *_LIGHTTPD_PACKAGED_APART), lighttpd),
    'caddy': Program(('caddy',), caddy),
    'node': Program(('node',), node),
}
