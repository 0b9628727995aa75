"""Throw-away certificate authorities, and the TLS contexts made from them.

An `Authority` issues certificates that live as long as the tests run. `server()` and `client()` make contexts as a
program would: a client checks the certificate and the host name. The fixtures `authority`, `other_authority`,
`server_tls` and `client_tls` give the usual ones.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

HOST = 'localhost'
NAMES = (HOST, '127.0.0.1', '::1')


@dataclass(frozen=True)
class Files:
    """Paths for servers that run in a process of their own."""

    certificate: Path
    key: Path
    authority: Path


class Authority:
    """A certificate authority that only its own clients trust."""

    def __init__(self) -> None:
        self._authority = trustme.CA()
        self._certificate = self._authority.issue_cert(*NAMES)

    def server(self, *names: str, asks_clients: bool = False) -> ssl.SSLContext:
        """A server's context: a certificate for `names`, or for the loopback interface's usual ones.

        asks_clients: demand a certificate that this authority has issued.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = self._authority.issue_cert(*names) if names else self._certificate
        certificate.configure_cert(context)
        if asks_clients:
            self._authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client(self, *, certificate: bool = False) -> ssl.SSLContext:
        """A client's context that trusts this authority alone.

        certificate: present one, for a server that asks its clients.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._authority.configure_trust(context)
        if certificate:
            self._authority.issue_cert('client@lowhaio.test').configure_cert(context)
        return context

    def write(self, folder: Path) -> Files:
        """Write the usual server certificate, its key and the authority to `folder`, as PEM."""
        files = Files(folder / 'certificate.pem', folder / 'key.pem', folder / 'authority.pem')
        files.certificate.write_bytes(b''.join(blob.bytes() for blob in self._certificate.cert_chain_pems))
        files.key.write_bytes(self._certificate.private_key_pem.bytes())
        files.authority.write_bytes(self._authority.cert_pem.bytes())
        return files
