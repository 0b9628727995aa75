"""nginx with one worker on a core of its own, on the loopback interface only."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import trustme

from workloads import Workload

HOST = '127.0.0.1'
CONFIGURATION = """
daemon off;
{user}
worker_processes 1;
worker_cpu_affinity {cpu_mask:b};
worker_rlimit_nofile 16384;
error_log {folder}/error.log warn;
pid {folder}/pid;
events {{ worker_connections 8192; accept_mutex off; }}
http {{
    access_log off;
    types {{ }}
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=100;
    output_buffers 4 256k;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_max_body_size 0;
    client_body_temp_path {folder}/temporary;
    proxy_temp_path {folder}/temporary;
    fastcgi_temp_path {folder}/temporary;
    uwsgi_temp_path {folder}/temporary;
    scgi_temp_path {folder}/temporary;
    ssl_certificate {folder}/certificate.pem;
    ssl_certificate_key {folder}/certificate.pem;
    ssl_protocols TLSv1.3;
    ssl_session_cache off;
    ssl_session_tickets off;
    upstream itself {{ server unix:{folder}/socket; }}
    server {{
        listen {host}:{plain_port} backlog=4096;
        listen {host}:{tls_port} ssl backlog=4096;
        listen unix:{folder}/socket;
        root {folder}/files;
        location = /nothing {{ return 200 ''; }}
        {locations}
    }}
}}
"""


class Server(NamedTuple):
    plain_port: int
    tls_port: int
    authority: str


def nginx_program() -> str:
    program = shutil.which('nginx', path=f'{os.environ["PATH"]}:/usr/sbin')
    if program is None:
        raise RuntimeError('nginx is not installed')
    return program


def nginx_version() -> str:
    run = subprocess.run([nginx_program(), '-v'], check=True, capture_output=True, text=True)
    return run.stderr.strip().removeprefix('nginx version: ')


def free_port() -> int:
    with socket.create_server((HOST, 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def wait_until_listening(process: subprocess.Popen[bytes], port: int, error_log: Path) -> None:
    while True:
        if process.poll() is not None:
            raise RuntimeError(f'nginx did not start: {error_log.read_text() if error_log.exists() else "no log"}')
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection((HOST, port)):
            return
        time.sleep(0.02)


@contextlib.contextmanager
def nginx(workloads: Iterable[Workload], megabytes: int, cpu: int) -> Iterator[Server]:
    """Serves what the workloads ask for, from memory, with a P-256 certificate made for the occasion."""
    workloads = list(workloads)
    memory = Path('/dev/shm')
    with tempfile.TemporaryDirectory(prefix='benchmark-', dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / 'files').mkdir()
        for prepare in {workload.prepare for workload in workloads}:
            prepare(folder / 'files', megabytes)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / 'authority.pem')
        authority.issue_cert(HOST, 'localhost').private_key_and_cert_chain_pem.write_to_path(folder / 'certificate.pem')
        server = Server(free_port(), free_port(), str(folder / 'authority.pem'))
        configuration = CONFIGURATION.format(
            user='user root;' if os.geteuid() == 0 else '',
            cpu_mask=1 << cpu,
            folder=folder,
            host=HOST,
            plain_port=server.plain_port,
            tls_port=server.tls_port,
            locations='\n        '.join(dict.fromkeys(workload.location(megabytes) for workload in workloads)),
        )
        (folder / 'nginx.conf').write_text(configuration)
        error_log = folder / 'error.log'
        process = subprocess.Popen([nginx_program(), '-e', str(error_log), '-c', str(folder / 'nginx.conf')])
        try:
            wait_until_listening(process, server.plain_port, error_log)
            yield server
        finally:
            process.terminate()
            process.wait()
