"""An HTTPS server on this machine for the examples: granian, with a certificate made on the spot."""

import contextlib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import trustme

SECONDS_TO_START = 30


@contextlib.contextmanager
def serving() -> Iterator[tuple[int, ssl.SSLContext]]:
    """The port of a server on 127.0.0.1 that is known as localhost, and a context that trusts its certificate."""
    authority = trustme.CA()
    certificate = authority.issue_cert('localhost')
    ssl_context = ssl.create_default_context()
    authority.configure_trust(ssl_context)
    with socket.socket() as reserved, tempfile.TemporaryDirectory() as folder:
        # With this option, which granian sets as well, the two share the port, and nobody else can take it meanwhile.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(('127.0.0.1', 0))
        port = reserved.getsockname()[1]
        chain, key = Path(folder, 'chain.pem'), Path(folder, 'key.pem')
        certificate.private_key_pem.write_to_path(key)
        for pem in certificate.cert_chain_pems:
            pem.write_to_path(chain, append=True)
        command = [sys.executable, '-m', 'granian', '--interface', 'asginl', '--http', '1', '--no-ws']
        command += ['--host', '127.0.0.1', '--port', str(port), '--log-level', 'error']
        command += ['--ssl-certificate', str(chain), '--ssl-keyfile', str(key), 'app:app']
        with subprocess.Popen(command, cwd=Path(__file__).parent) as server:  # noqa: S603  nothing here comes from outside
            try:
                _wait_until_it_listens(port, server)
                yield port, ssl_context
            finally:
                server.terminate()


def _wait_until_it_listens(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while True:
        try:
            socket.create_connection(('127.0.0.1', port)).close()
        except ConnectionRefusedError:
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit('the server did not start')
            time.sleep(0.02)
        else:
            return
