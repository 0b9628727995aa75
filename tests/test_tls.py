"""TLS: nothing is accepted that `ssl` would refuse, and the end of a stream is only an end where TLS says so.

Each server that must be refused is shown to asyncio's own streams first, with the same context: what they raise is what
the error of the pool has as its `__cause__`.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

import lowhaio
import lowhaio_chunked
from lowhaio_nonssl import NonSSLContext
from support import programs
from support.certificates import HOST, Authority, Files
from support.loops import ClockLoop
from support.pools import turns
from support.scripted import ClientLeft, Peer, Script, Server, scripted
from support.sockets import clients_of

GET = b'GET / HTTP/1.1\r\nhost: localhost\r\n\r\n'
CONNECT = b'CONNECT localhost:443 HTTP/1.1\r\nhost: localhost:443\r\n\r\n'
HELLO = b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'
NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def settings(**changed: float) -> dict[str, Any]:
    usual = {
        'max': 1,
        'max_wait_connection_seconds': 60,
        'max_requests_per_connection': 1000,
        'max_idle_seconds': 60,
        'max_wait_send_recv_seconds': 60,
        'chunk_bytes': 65536,
    }
    return usual | changed


def hello(peer: Peer) -> None:
    for _ in peer.heads():
        peer.send(HELLO)


async def get(
    pool: lowhaio.Pool, server: Server, context: ssl.SSLContext | NonSSLContext, name: str | None = HOST
) -> tuple[bytes, bytes, bool]:
    """The status code, the body, and whether the connection had been used before."""
    async with pool.connection(server.address, server.port, context, server_hostname=name) as connection:
        await pool.send(connection, GET)
        code, cursor = b'100', 0
        chunked = False
        while code.startswith(b'1'):
            code, cursor = await pool.recv_status_line(connection, cursor)
            async for key, _, cursor in pool.recv_headers(connection, cursor):
                chunked = chunked or key == b'transfer-encoding'
        body = pool.recv_body(connection, cursor)
        if chunked:
            body = lowhaio_chunked.decode(body)
        return code, b''.join([piece async for piece in body]), connection.reused


async def refused_by_asyncio(server: Server, context: ssl.SSLContext, name: str) -> ssl.SSLError:
    """What asyncio's own streams raise at the same server."""
    with pytest.raises(ssl.SSLError) as raised:
        await asyncio.open_connection('127.0.0.1', server.port, ssl=context, server_hostname=name)
    return raised.value


# Certificates


@dataclass(frozen=True)
class Refused:
    """A server's context, a client's that must refuse it, and why."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    reason: str
    name: str = HOST


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


def showing(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def showing_own(folder: Path, key: Key, certificate: x509.Certificate) -> ssl.SSLContext:
    """A server's context with a certificate that trustme does not make."""
    file = folder / 'certificate.pem'
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers('DEFAULT:@SECLEVEL=0')
    context.load_cert_chain(file)
    return context


def signed(key: Key, issuer: x509.Name, issuer_key: Key) -> x509.Certificate:
    """A certificate for `localhost`."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
    )
    return builder.sign(issuer_key, hashes.SHA256())


def issuer_of(authority: trustme.CA) -> tuple[x509.Name, Key]:
    key = load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    return x509.load_pem_x509_certificate(authority.cert_pem.bytes()).subject, key


def wrong_host(_: Path) -> Refused:
    authority = trustme.CA()
    return Refused(showing(authority.issue_cert('other.test')), trusting(authority), 'Hostname mismatch')


def wrong_address(_: Path) -> Refused:
    authority = trustme.CA()
    return Refused(showing(authority.issue_cert(HOST)), trusting(authority), 'IP address mismatch', '127.0.0.1')


def wildcard_of_the_parent(_: Path) -> Refused:
    authority = trustme.CA()
    context = showing(authority.issue_cert('*.lowhaio.test'))
    return Refused(context, trusting(authority), 'Hostname mismatch', 'a.b.lowhaio.test')


def expired(_: Path) -> Refused:
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST, not_before=NOW - 2 * DAY, not_after=NOW - DAY)
    return Refused(showing(certificate), trusting(authority), 'certificate has expired')


def not_yet_valid(_: Path) -> Refused:
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST, not_before=NOW + DAY, not_after=NOW + 2 * DAY)
    return Refused(showing(certificate), trusting(authority), 'certificate is not yet valid')


def unknown_authority(_: Path) -> Refused:
    return Refused(showing(trustme.CA().issue_cert(HOST)), trusting(trustme.CA()), 'unable to get local issuer')


def self_signed(folder: Path) -> Refused:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    context = showing_own(folder, key, signed(key, name, key))
    return Refused(context, trusting(trustme.CA()), 'self-signed certificate')


def missing_intermediate(folder: Path) -> Refused:
    root = trustme.CA()
    issuer, issuer_key = issuer_of(root.create_child_ca())
    key = ec.generate_private_key(ec.SECP256R1())
    context = showing_own(folder, key, signed(key, issuer, issuer_key))
    return Refused(context, trusting(root), 'unable to get local issuer')


def leaf_that_signs(folder: Path) -> Refused:
    """The certificate of a server is used as an authority."""
    root = trustme.CA()
    leaf = root.issue_cert('other.test')
    leaf_key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    assert isinstance(leaf_key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    issuer = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    context = showing_own(folder, key, signed(key, issuer.subject, leaf_key))
    chain = folder / 'chain.pem'
    chain.write_bytes((folder / 'certificate.pem').read_bytes() + leaf.cert_chain_pems[0].bytes())
    context.load_cert_chain(chain)
    return Refused(context, trusting(root), 'invalid CA certificate')


def revoked(folder: Path) -> Refused:
    """`ssl` looks at a revocation list when it is given one and told to."""
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    issuer, issuer_key = issuer_of(authority)
    serial = x509.load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes()).serial_number
    entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - DAY).build()
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer).last_update(NOW - DAY).next_update(NOW + DAY)
    revocations = builder.add_revoked_certificate(entry).sign(issuer_key, hashes.SHA256())
    file = folder / 'revoked.pem'
    file.write_bytes(revocations.public_bytes(Encoding.PEM))
    client = trusting(authority)
    client.load_verify_locations(file)
    client.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    return Refused(showing(certificate), client, 'certificate revoked')


def weak_key(folder: Path) -> Refused:
    authority = trustme.CA()
    key = rsa.generate_private_key(65537, 1024)
    issuer, issuer_key = issuer_of(authority)
    context = showing_own(folder, key, signed(key, issuer, issuer_key))
    return Refused(context, trusting(authority), 'EE certificate key too weak')


UNTRUSTED = [
    wrong_host,
    wrong_address,
    wildcard_of_the_parent,
    expired,
    not_yet_valid,
    unknown_authority,
    self_signed,
    missing_intermediate,
    leaf_that_signs,
    revoked,
    weak_key,
]


@contextlib.asynccontextmanager
async def refusal(refused: Refused, authority: Authority) -> AsyncIterator[lowhaio.UnsentTLSError]:
    """Ask the server, and afterwards, in the only place of the same pool, a server that is all right."""
    async with (
        scripted(hello, tls=refused.server) as server,
        scripted(hello, tls=authority.server()) as good,
        lowhaio.connection_pool(**settings()) as pool,
    ):
        expected = await refused_by_asyncio(server, refused.client, refused.name)
        with pytest.raises(lowhaio.UnsentTLSError) as raised:
            await get(pool, server, refused.client, refused.name)
        error = raised.value
        assert (error.bytes_sent, error.bytes_received, error.reused) == (0, 0, False)
        assert f'handshake with {server.address[0][4]}' in str(error)
        cause = error.__cause__
        assert isinstance(cause, ssl.SSLError)
        assert (type(cause), cause.reason) == (type(expected), expected.reason)
        assert clients_of(server.port) == 0
        assert await get(pool, good, authority.client()) == (b'200', b'hello', False)
        yield error


@pytest.mark.parametrize('case', UNTRUSTED)
async def test_certificate_is_refused(case: Callable[[Path], Refused], tmp_path: Path, authority: Authority) -> None:
    refused = case(tmp_path)
    async with refusal(refused, authority) as error:
        assert isinstance(error.__cause__, ssl.SSLCertVerificationError)
        assert refused.reason in error.__cause__.verify_message


async def test_chain_is_accepted_as_ssl_accepts_it() -> None:
    """With its intermediate authorities, whatever their order: RFC 8446 section 4.4.2 asks clients to cope."""
    root = trustme.CA()
    middle = root.create_child_ca()
    certificate = middle.create_child_ca().issue_cert(HOST)
    leaf, *authorities = [blob.bytes() for blob in certificate.cert_chain_pems]
    assert len(authorities) == 2
    for chain in ([leaf, *authorities], [leaf, *reversed(authorities)]):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with trustme.Blob(b''.join([certificate.private_key_pem.bytes(), *chain])).tempfile() as file:
            context.load_cert_chain(file)
        async with scripted(hello, tls=context) as server, lowhaio.connection_pool(**settings()) as pool:
            assert await get(pool, server, trusting(root)) == (b'200', b'hello', False)


# Versions and ciphers


def version_1_1(authority: Authority) -> Refused:
    server = authority.server()
    server.set_ciphers('DEFAULT:@SECLEVEL=0')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)  # that it is deprecated is what this is about
        server.minimum_version = ssl.TLSVersion.TLSv1
        server.maximum_version = ssl.TLSVersion.TLSv1_1
    return Refused(server, authority.client(), '')


def older_than_asked_for(authority: Authority) -> Refused:
    server, client = authority.server(), authority.client()
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    return Refused(server, client, '')


def no_cipher_in_common(authority: Authority) -> Refused:
    server, client = authority.server(), authority.client()
    for context, cipher in ((server, 'ECDHE+AES128'), (client, 'ECDHE+AES256')):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(cipher)
    return Refused(server, client, '')


@pytest.mark.parametrize('case', [version_1_1, older_than_asked_for, no_cipher_in_common])
async def test_weak_encryption_is_refused(case: Callable[[Authority], Refused], authority: Authority) -> None:
    async with refusal(case(authority), authority) as error:
        assert not isinstance(error.__cause__, ssl.SSLCertVerificationError)


# A server's side of TLS, flight by flight


class Handshake:
    """`ssl` makes the bytes of a server's flights, and the script decides what becomes of them."""

    def __init__(self, peer: Peer, context: ssl.SSLContext) -> None:
        self.failure: ssl.SSLError | None = None
        self._peer = peer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def next_flight(self) -> bytes:
        """Receive until there is something to say to the client: that."""
        while not (flight := self._answer()):
            data = self._peer.socket.recv(65536)
            if not data:
                raise ClientLeft
            self._incoming.write(data)
        return flight

    def encrypted(self, data: bytes) -> bytes:
        """Records that hold the data."""
        self._tls.write(data)
        return self._outgoing.read()

    def close_notify(self) -> bytes:
        """The record that says that no more comes."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._outgoing.read()

    def _answer(self) -> bytes:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as failure:
            self.failure = failure
        return self._outgoing.read()


def limited_to(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = version
    return context


TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
FLIGHTS = [(TLS_1_2, 1), (TLS_1_2, 2), (TLS_1_3, 1)]
"""The flights of a server that a client waits for. In TLS 1.3 the second one is tickets, and nobody waits for them."""


CUTS: dict[str, Callable[[bytes], int]] = {
    'nothing': lambda _: 0,
    'a byte': lambda _: 1,
    'half': lambda flight: len(flight) // 2,
    'all but a byte': lambda flight: len(flight) - 1,
}


class Signal:
    """An event that scripts and tests set, and that tests wait for."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def set(self) -> None:
        self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        await self._event.wait()


@dataclass
class CutShort:
    """A server that sends the last of so many flights up to a byte, and then something else than what is missing."""

    context: ssl.SSLContext
    flights: int
    cut: Callable[[bytes], int]
    then: Callable[[Peer, bytes], None]

    def __call__(self, peer: Peer) -> None:
        handshake = Handshake(peer, self.context)
        for _ in range(self.flights - 1):
            peer.send(handshake.next_flight())
        flight = handshake.next_flight()
        length = self.cut(flight)
        peer.send(flight[:length])
        self.then(peer, flight[length:])


def close_at_once(peer: Peer, _missing: bytes = b'') -> None:
    peer.close_without_close_notify()


def reset(peer: Peer, _missing: bytes) -> None:
    peer.let_the_client_read()
    peer.reset()


def garbage(peer: Peer, missing: bytes) -> None:
    peer.send(bytes(byte ^ 0xFF for byte in missing) + bytes(20_000))
    peer.until_closed()


cut_short = pytest.mark.parametrize('cut', CUTS.values(), ids=CUTS)
flights = pytest.mark.parametrize(
    ('version', 'flight'), FLIGHTS, ids=[f'{version.name} flight {flight}' for version, flight in FLIGHTS]
)


@flights
@cut_short
async def test_handshake_that_stalls(
    version: ssl.TLSVersion, flight: int, cut: Callable[[bytes], int], authority: Authority, clock: ClockLoop
) -> None:
    """`max_wait_connection_seconds` bounds the handshake too, and the place goes back."""
    stalled = Signal()

    def stall(peer: Peer, _missing: bytes) -> None:
        stalled.set()
        peer.until_closed()

    script = CutShort(limited_to(authority.server(), version), flight, cut, stall)
    async with (
        scripted(script) as server,
        scripted(hello, tls=authority.server()) as good,
        lowhaio.connection_pool(**settings()) as pool,
    ):
        attempt = asyncio.create_task(get(pool, server, authority.client()))
        await stalled.wait()
        clock.advance(59)
        await clock.idle()
        assert not attempt.done()
        clock.advance(1)
        with pytest.raises(lowhaio.ConnectTimeoutError, match=r'^handshake with .*: not done within 60 seconds$'):
            await attempt
        assert clients_of(server.port) == 0
        assert await get(pool, good, authority.client()) == (b'200', b'hello', False)


@pytest.mark.parametrize(
    ('then', 'error'),
    [
        (close_at_once, lowhaio.UnsentClosedError),
        (reset, lowhaio.UnsentClosedError),
        (garbage, lowhaio.UnsentTLSError),
    ],
)
@flights
@cut_short
async def test_handshake_that_is_cut_short(
    version: ssl.TLSVersion,
    flight: int,
    cut: Callable[[bytes], int],
    then: Callable[[Peer, bytes], None],
    error: type[lowhaio.LowhaioError],
    authority: Authority,
) -> None:
    script = CutShort(limited_to(authority.server(), version), flight, cut, then)
    async with (
        scripted(script) as server,
        scripted(hello, tls=authority.server()) as good,
        lowhaio.connection_pool(**settings()) as pool,
    ):
        with pytest.raises(error, match=r'^handshake with .* \(0 bytes sent, 0 received, new connection\)$'):
            await get(pool, server, authority.client())
        assert clients_of(server.port) == 0
        assert await get(pool, good, authority.client()) == (b'200', b'hello', False)


async def test_response_along_with_the_last_flight(authority: Authority) -> None:
    """It was sent before the request, so it is not the response to it, although nobody had the time to look at it."""

    def hasty(peer: Peer) -> None:
        handshake = Handshake(peer, limited_to(authority.server(), TLS_1_2))
        peer.send(handshake.next_flight())
        peer.send(handshake.next_flight() + handshake.encrypted(HELLO))
        peer.until_closed()

    async with (
        scripted(hasty) as server,
        scripted(hello, tls=authority.server()) as good,
        lowhaio.connection_pool(**settings()) as pool,
    ):
        with pytest.raises(lowhaio.UnsentRemoteProtocolError, match='the server sent something before the request'):
            await get(pool, server, authority.client())
        assert clients_of(server.port) == 0
        assert await get(pool, good, authority.client()) == (b'200', b'hello', False)


class Through:
    """A context as a program may have its own: the handshake begins with a proxy (RFC 9110 section 9.3.6)."""

    class Socket:
        """Becomes another in the handshake."""

        def __init__(self, sock: socket.socket, secured: Callable[[socket.socket], ssl.SSLSocket]) -> None:
            self._sock = sock
            self._secured = secured
            self._asked = False
            self._answer = b''

        def __getattr__(self, name: str) -> Any:
            return getattr(self._sock, name)

        def do_handshake(self) -> None:
            if not self._asked:
                self._asked = True
                self._sock.sendall(CONNECT)
            while not isinstance(self._sock, ssl.SSLSocket):
                try:
                    self._answer += self._sock.recv(1)
                except BlockingIOError:
                    raise ssl.SSLWantReadError from None
                if self._answer.endswith(b'\r\n\r\n'):
                    self._sock = self._secured(self._sock)
            self._sock.do_handshake()

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def wrap_socket(self, sock: socket.socket, **options: Any) -> Any:
        return self.Socket(sock, lambda tunnel: self._context.wrap_socket(tunnel, **options))


async def test_handshake_that_begins_with_a_proxy(authority: Authority) -> None:
    """What `wrap_socket` returns is asked for `recv` and `send` after the handshake, in which it may become another."""

    def proxy(peer: Peer) -> None:
        assert peer.until(b'\r\n\r\n') == CONNECT
        peer.send(b'HTTP/1.1 200 OK\r\n\r\n')
        peer.start_tls(authority.server())
        hello(peer)

    context: Any = Through(authority.client())
    async with scripted(proxy) as server, lowhaio.connection_pool(**settings()) as pool:
        assert await get(pool, server, context) == (b'200', b'hello', False)
        assert await get(pool, server, context) == (b'200', b'hello', True)


# Certificates of clients


async def test_missing_client_certificate_in_tls_1_2(authority: Authority) -> None:
    """The server refuses in its last flight, which the client waits for."""
    async with (
        scripted(hello, tls=limited_to(authority.server(asks_clients=True), TLS_1_2)) as server,
        lowhaio.connection_pool(**settings()) as pool,
    ):
        with pytest.raises(lowhaio.UnsentTLSError, match=r'(?i)handshake.failure'):
            await get(pool, server, authority.client())
        assert await get(pool, server, authority.client(certificate=True)) == (b'200', b'hello', False)


@pytest.mark.parametrize(
    ('request_first', 'error'), [(True, lowhaio.SentTLSError), (False, lowhaio.UnsentTLSError)], ids=['late', 'early']
)
async def test_missing_client_certificate_in_tls_1_3(
    request_first: bool, error: type[lowhaio.TLSError], authority: Authority
) -> None:
    """The handshake is over for the client when the server sees that there is no certificate."""
    sent, refused = threading.Event(), Signal()

    def refuse(peer: Peer) -> None:
        handshake = Handshake(peer, authority.server(asks_clients=True))
        peer.send(handshake.next_flight())
        if request_first:
            peer.wait(sent)
        peer.send(handshake.next_flight())
        assert handshake.failure is not None
        refused.set()
        peer.until_closed()

    async with (
        scripted(refuse, hello) as server,
        lowhaio.connection_pool(**settings()) as pool,
    ):
        with pytest.raises(error, match=r'(?i)certificate.required') as raised:
            async with pool.connection(
                server.address, server.port, authority.client(), server_hostname=HOST
            ) as connection:
                if not request_first:
                    await refused.wait()
                await pool.send(connection, GET)
                sent.set()
                await pool.recv_status_line(connection)
        assert raised.value.bytes_sent == (len(GET) if request_first else 0)
        assert raised.value.bytes_received == 0
        assert await get(pool, server, NonSSLContext()) == (b'200', b'hello', False)


async def test_missing_client_certificate_while_a_large_send_waits(authority: Authority) -> None:
    """The alert ends the send as what it is, though the server goes on and neither reads nor closes."""
    full, over = threading.Event(), threading.Event()

    def refuse(peer: Peer) -> None:
        handshake = Handshake(peer, authority.server(asks_clients=True))
        peer.send(handshake.next_flight())
        peer.wait(full)
        peer.send(handshake.next_flight())
        peer.wait(over)

    async with scripted(refuse) as server, lowhaio.connection_pool(**settings()) as pool:
        async with pool.connection(server.address, server.port, authority.client(), server_hostname=HOST) as connection:
            sending = asyncio.create_task(pool.send(connection, b'POST / HTTP/1.1\r\n\r\n' + bytes(2**25)))
            await turns(50)
            full.set()
            with pytest.raises(lowhaio.SentTLSError, match=r'^send: .*(?i:certificate.required)'):
                await sending
            with pytest.raises(lowhaio.SentTLSError, match=r'^the status line: .*(?i:certificate.required)'):
                await pool.recv_status_line(connection)
            over.set()


async def test_client_certificate_in_tls_1_3(authority: Authority) -> None:
    async with (
        scripted(hello, tls=limited_to(authority.server(asks_clients=True), TLS_1_3)) as server,
        lowhaio.connection_pool(**settings()) as pool,
    ):
        context = authority.client(certificate=True)
        assert await get(pool, server, context) == (b'200', b'hello', False)
        assert await get(pool, server, context) == (b'200', b'hello', True)


# The end of the stream

WHOLE = {
    'length': b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello',
    'chunked': b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
}
PARTS = {
    'nothing': b'',
    'status line': b'HTTP/1.1 200 O',
    'headers': b'HTTP/1.1 200 OK\r\ncontent-len',
    'length, nothing of the body': WHOLE['length'][:-5],
    'length, all but a byte': WHOLE['length'][:-1],
    'chunked, inside of a chunk': WHOLE['chunked'][:-10],
    'chunked, between chunks': WHOLE['chunked'][:-5],
    'chunked, all but a byte': WHOLE['chunked'][:-1],
    'interim response': b'HTTP/1.1 103 Early Hints\r\n\r\n',
}
UNTIL_CLOSE = b'HTTP/1.1 200 OK\r\n\r\nhello'

Ending = Callable[[Peer], None]


def close_notify(peer: Peer) -> None:
    peer.close()


ENDINGS: dict[str, Ending] = {
    'close_notify': close_notify,
    'no close_notify': close_at_once,
}
endings = pytest.mark.parametrize('ending', ENDINGS.values(), ids=ENDINGS)
versions = pytest.mark.parametrize('version', [TLS_1_2, TLS_1_3], ids=lambda version: version.name)


def ended(response: bytes, ending: Ending) -> Script:
    def serve(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(response)
        ending(peer)

    return serve


@versions
@endings
@pytest.mark.parametrize('part', PARTS.values(), ids=PARTS)
async def test_truncated_response(
    part: bytes, ending: Ending, version: ssl.TLSVersion, authority: Authority, client_tls: ssl.SSLContext
) -> None:
    """A part is never taken for the whole, whether or not the server says that its stream is over."""
    context = limited_to(authority.server(), version)
    async with (
        scripted(ended(part, ending), hello, tls=context) as server,
        lowhaio.connection_pool(**settings()) as pool,
    ):
        with pytest.raises(lowhaio.SentClosedError) as raised:
            await get(pool, server, client_tls)
        assert (raised.value.bytes_sent, raised.value.bytes_received) == (len(GET), len(part))
        if ending is close_notify:
            assert 'the server closed the connection before the' in str(raised.value)
        else:
            assert 'the TLS stream ended without close_notify' in str(raised.value)
            assert isinstance(raised.value.__cause__, ssl.SSLEOFError)
        assert await get(pool, server, client_tls) == (b'200', b'hello', False)


@versions
@endings
@pytest.mark.parametrize('response', WHOLE.values(), ids=WHOLE)
async def test_whole_response_does_not_depend_on_the_end_of_the_stream(
    response: bytes, ending: Ending, version: ssl.TLSVersion, authority: Authority, client_tls: ssl.SSLContext
) -> None:
    context = limited_to(authority.server(), version)
    over = Signal()

    def end(peer: Peer) -> None:
        ending(peer)
        over.set()

    async with (
        scripted(ended(response, end), hello, tls=context) as server,
        lowhaio.connection_pool(**settings()) as pool,
    ):
        assert await get(pool, server, client_tls) == (b'200', b'hello', False)
        await over.wait()
        assert await get(pool, server, client_tls) == (b'200', b'hello', False)


@versions
async def test_body_until_the_end_of_the_stream(
    version: ssl.TLSVersion, authority: Authority, client_tls: ssl.SSLContext
) -> None:
    """RFC 9112 section 9.8: without close_notify the end is not an end, but what came before it can be read."""
    context = limited_to(authority.server(), version)
    async with (
        scripted(ended(UNTIL_CLOSE, close_notify), ended(UNTIL_CLOSE, close_at_once), hello, tls=context) as server,
        lowhaio.connection_pool(**settings()) as pool,
    ):
        assert await get(pool, server, client_tls) == (b'200', b'hello', False)
        received = b''
        with pytest.raises(lowhaio.SentClosedError, match='the TLS stream ended without close_notify'):
            async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST) as connection:
                await pool.send(connection, GET)
                _, cursor = await pool.recv_status_line(connection)
                async for _ in pool.recv_headers(connection, cursor):
                    pass
                async for piece in pool.recv_body(connection, cursor):
                    received += piece
        assert received == b'hello'
        assert await get(pool, server, client_tls) == (b'200', b'hello', False)


@pytest.mark.parametrize('cut', CUTS.values(), ids=CUTS)
async def test_stream_that_ends_inside_of_a_record(
    cut: Callable[[bytes], int], authority: Authority, client_tls: ssl.SSLContext
) -> None:
    """Not a byte of a record can be had before all of it has come and its checksum is right."""

    def serve(peer: Peer) -> None:
        handshake = Handshake(peer, authority.server())
        peer.send(handshake.next_flight())
        peer.send(handshake.next_flight())
        record = handshake.encrypted(UNTIL_CLOSE)
        peer.send(record[: cut(record)])
        peer.shutdown_write()
        peer.until_closed()

    async with scripted(serve) as server, lowhaio.connection_pool(**settings()) as pool:
        with pytest.raises(lowhaio.LowhaioError, match='without close_notify') as raised:
            await get(pool, server, client_tls)
        assert isinstance(raised.value, lowhaio.ClosedError)
        assert raised.value.bytes_received == 0


async def test_close_notify_that_arrives_while_a_send_waits(authority: Authority, client_tls: ssl.SSLContext) -> None:
    """The server answers early, says that no more comes, and reads on: only OpenSSL knows of it, and tells it once."""

    def serve(peer: Peer) -> None:
        if peer.number:
            peer.start_tls(authority.server())
            hello(peer)
            return
        handshake = Handshake(peer, authority.server())
        peer.send(handshake.next_flight())
        peer.send(handshake.next_flight())
        peer.wait(waiting)
        for record in (handshake.encrypted(HELLO), handshake.close_notify()):
            peer.send(record)
            peer.let_the_client_read()
        peer.until_closed()

    waiting = threading.Event()
    body = bytes(2**25)
    async with scripted(serve, serve) as server, lowhaio.connection_pool(**settings()) as pool:
        async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST) as connection:
            sending = asyncio.create_task(
                pool.send(connection, b'POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n' % len(body) + body)
            )
            await turns(200)  # each sends a quarter of a megabyte, until the socket is full
            waiting.set()
            await sending
            code, cursor = await pool.recv_status_line(connection)
            async for _, _, cursor in pool.recv_headers(connection, cursor):
                pass
            assert [piece async for piece in pool.recv_body(connection, cursor)] == [b'hello']
            assert code == b'200'
        assert await get(pool, server, client_tls) == (b'200', b'hello', False)


async def test_record_that_was_changed_on_the_way(authority: Authority, client_tls: ssl.SSLContext) -> None:
    def serve(peer: Peer) -> None:
        handshake = Handshake(peer, authority.server())
        peer.send(handshake.next_flight())
        peer.send(handshake.next_flight())
        peer.wait(sent)
        record = bytearray(handshake.encrypted(HELLO))
        record[20] ^= 1
        peer.send(bytes(record))
        peer.until_closed()

    sent = threading.Event()
    async with scripted(serve) as server, lowhaio.connection_pool(**settings()) as pool:
        with pytest.raises(lowhaio.SentTLSError, match=r'(?i)bad.record.mac'):
            async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST) as connection:
                await pool.send(connection, GET)
                sent.set()
                await pool.recv_status_line(connection)


# What TLS says on its own


async def test_tickets_that_arrive_on_an_idle_connection(authority: Authority, client_tls: ssl.SSLContext) -> None:
    """They make the connection readable, and are not data (RFC 8446 section 4.6.1): it is used again."""
    left, told = threading.Event(), Signal()

    def serve(peer: Peer) -> None:
        handshake = Handshake(peer, limited_to(authority.server(), TLS_1_3))
        peer.send(handshake.next_flight())
        peer.wait(left)
        tickets = handshake.next_flight()
        assert len(tickets) > 200
        peer.pieces(tickets, len(tickets) // 3)
        told.set()
        peer.socket.recv(65536)
        peer.send(handshake.encrypted(HELLO))
        peer.until_closed()

    async with scripted(serve) as server, lowhaio.connection_pool(**settings()) as pool:
        async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST):
            pass
        left.set()
        await told.wait()
        assert clients_of(server.port) == 1
        assert (await get(pool, server, client_tls))[:2] == (b'200', b'hello')
        assert server.accepted == 1


class Openssl:
    """`openssl s_server`: it sends what it reads from its standard input, but for lines of one letter, its commands."""

    KEY_UPDATE = b'k\n'
    KEY_UPDATE_ASKING_FOR_ANOTHER = b'K\n'

    def __init__(self, files: Files) -> None:
        command = [programs.needed('openssl'), 's_server', '-accept', '127.0.0.1:0', '-cert', str(files.certificate)]
        self._process = subprocess.Popen(
            [*command, '-key', str(files.key), '-tls1_3', '-num_tickets', '0'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        assert self._process.stdout is not None
        line = b''
        while not line.startswith(b'ACCEPT'):
            line = self._process.stdout.readline()
            assert line, 'openssl s_server ended'
        self.port = int(line.rpartition(b':')[2])

    def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


async def test_keys_are_updated_during_a_download(certificate_files: Files, client_tls: ssl.SSLContext) -> None:
    """RFC 8446 section 4.6.3: the server changes its keys, and then asks the client to change its own as well."""
    pieces = [b'x' * 1000, b'y' * 10_000, b'z' * 100]
    head = b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n' % sum(map(len, pieces))
    key_update = 5 + 5 + 1 + 16  # record header, message, content type, tag

    with Openssl(certificate_files) as server:
        async with (
            lowhaio.connection_pool(**settings()) as pool,
            pool.connection('127.0.0.1', server.port, client_tls, server_hostname=HOST) as connection,
        ):
            for command in (Openssl.KEY_UPDATE, Openssl.KEY_UPDATE_ASKING_FOR_ANOTHER, Openssl.KEY_UPDATE):
                await pool.send(connection, GET)
                server.write(head)
                code, cursor = await pool.recv_status_line(connection)
                async for _, _, cursor in pool.recv_headers(connection, cursor):
                    pass
                body = pool.recv_body(connection, cursor)
                for piece in pieces:
                    server.write(command)
                    assert await arrived(connection.socket) == key_update
                    server.write(piece)
                    received = b''
                    while len(received) < len(piece):
                        received += await anext(body)
                    assert received == piece
                assert code == b'200'
                assert [piece async for piece in body] == []
            assert connection.reused


async def arrived(sock: socket.socket) -> int:
    """How many bytes lie in the socket, once there are some; they are left there."""
    loop = asyncio.get_running_loop()
    with socket.socket(fileno=os.dup(sock.fileno())) as raw:
        readable = asyncio.Event()
        loop.add_reader(raw, readable.set)
        await readable.wait()
        loop.remove_reader(raw)
        return len(raw.recv(65536, socket.MSG_PEEK))


# Plain where it should be TLS, and the reverse


@pytest.mark.parametrize('answer', [b'HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n', b'\r\n', b'220 mail\r\n'])
async def test_plain_server_on_the_tls_port(answer: bytes, client_tls: ssl.SSLContext) -> None:
    """What it says is not even looked at as HTTP."""

    def serve(peer: Peer) -> None:
        peer.recv_exactly(5)
        peer.send(answer.ljust(10, b'.'))
        peer.until_closed()

    async with scripted(serve, hello) as server, lowhaio.connection_pool(**settings()) as pool:
        with pytest.raises(lowhaio.UnsentTLSError, match=r'(?i)wrong.version.number|record.layer.failure'):
            await get(pool, server, client_tls)
        assert await get(pool, server, NonSSLContext()) == (b'200', b'hello', False)


async def test_tls_server_on_the_plain_port(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """OpenSSL's server sees HTTP and closes the connection."""
    async with scripted(hello, tls=server_tls) as server, lowhaio.connection_pool(**settings()) as pool:
        with pytest.raises(lowhaio.SentClosedError):
            await get(pool, server, NonSSLContext())
        assert await get(pool, server, client_tls) == (b'200', b'hello', False)


async def test_tls_alert_is_not_a_status_line() -> None:
    """RFC 8446 section 6: type 21, version, length 2, fatal, unexpected_message; and a byte that ends a line."""

    def serve(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(b'\x15\x03\x03\x00\x02\x02\x0a')
        peer.until_closed()

    async with scripted(serve, hello) as server, lowhaio.connection_pool(**settings()) as pool:
        with pytest.raises(lowhaio.SentRemoteProtocolError, match='not a status line'):
            await get(pool, server, NonSSLContext())
        assert await get(pool, server, NonSSLContext()) == (b'200', b'hello', False)
