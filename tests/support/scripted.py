r"""Servers that do exactly what a test tells them.

    def hello(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(b'HTTP/1.1 200 OK\\r\\ncontent-length: 5\\r\\n\\r\\nhello')
        peer.until_closed()

    async with scripted(hello, tls=server_tls) as server:
        ... connect to server.address, server.port ...
    assert server.accepted == 1

A script is a plain function. It runs in a thread with a blocking socket, so that the loop under test holds nothing of
the server, and so that half a TLS record, a reset or a single byte is one line. With several scripts the first
connection gets the first one, and so on; the last one serves all that follow.

What a script raises fails the test, but for `ClientLeft`: the client closed the connection before the script was done
with it, and it is the client's side that the test judges. The same goes for TLS handshakes that fail; the server keeps
them in `server.refused`. When the block is left, every script has to end within `PATIENCE` seconds, as it does once the
client has closed its connections. Every operation of a script is bounded by the same time.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import select
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

PATIENCE = 60.0
"""Seconds after which a server gives up. It is there to end a test that hangs, and proves nothing."""

Name = tuple[str, int] | tuple[str, int, int, int] | str
AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, Name]
"""One entry of what `getaddrinfo` returns. A Unix socket's address is its path."""


class ClientLeft(Exception):
    """The client closed the connection, or reset it, while the script still had something to do."""


@contextlib.contextmanager
def _client_may_leave() -> Iterator[None]:
    try:
        yield
    except (ConnectionError, ssl.SSLError) as error:
        raise ClientLeft from error
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            raise ClientLeft from error
        raise


class Peer:
    """The server's side of one connection."""

    def __init__(self, sock: socket.socket, number: int, loop: asyncio.AbstractEventLoop) -> None:
        sock.settimeout(PATIENCE)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = sock
        self.number = number
        """How many connections the server had accepted before this one."""
        self.close_notify_received = False
        """Whether the client ended its TLS stream as it should."""
        self._loop = loop
        self._buffer = bytearray()

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Do the server's side of a TLS handshake."""
        self.socket = context.wrap_socket(self.socket, server_side=True, suppress_ragged_eofs=False)

    # Receiving

    def until(self, marker: bytes) -> bytes:
        """Receive up to and including `marker`."""
        while (at := self._buffer.find(marker)) < 0:
            self._receive()
        return self._take(at + len(marker))

    def recv_exactly(self, size: int) -> bytes:
        """Receive `size` bytes."""
        while len(self._buffer) < size:
            self._receive()
        return self._take(size)

    def some(self) -> bytes:
        """Receive what there is, and wait until there is something."""
        if not self._buffer:
            self._receive()
        return self._take(len(self._buffer))

    def until_closed(self) -> bytes:
        """Receive until the client closes the connection or resets it; returns what came before."""
        with contextlib.suppress(ClientLeft):
            while True:
                self._receive()
        return self._take(len(self._buffer))

    def heads(self) -> Iterator[bytes]:
        """Yield the head of one request after the other until the client closes the connection."""
        with contextlib.suppress(ClientLeft):
            while True:
                yield self.until(b'\r\n\r\n')

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _receive(self) -> None:
        with _client_may_leave():
            data = self.socket.recv(65536)
        if not data:
            self.close_notify_received = isinstance(self.socket, ssl.SSLSocket)
            raise ClientLeft
        self._buffer += data

    # Sending

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        with _client_may_leave():
            self.socket.sendall(data)

    def pieces(self, data: bytes, size: int = 1) -> None:
        """Send `data` in pieces of `size` bytes, each after the client's loop had the time to read the one before.

        A client that does not read, or does not yet, finds several pieces at once: receive something from it first.

        The client's loop sends them itself, each some turns after the one before. With the loop and this thread taking
        turns, a byte would take twice as long. What the client leaves unread has to fit into the sockets' buffers.
        """
        for start in range(0, len(data), 1000 * size):  # each thousand is an operation, with all of the patience
            self._pieces(data[start : start + 1000 * size], size)

    def _pieces(self, data: bytes, size: int) -> None:
        starts = iter(range(0, len(data), size))
        sent: concurrent.futures.Future[None] = concurrent.futures.Future()

        def send_the_next() -> None:
            try:
                at = next(starts, None)
                if at is None:
                    sent.set_result(None)
                else:
                    self.send(data[at : at + size])
                    self._once_the_client_has_read(send_the_next)
            except BaseException as error:
                sent.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(send_the_next)
        except RuntimeError:  # the loop is closed: nobody is left to read
            self.send(data)
        else:
            sent.result(PATIENCE)

    def let_the_client_read(self) -> None:
        """Wait until the client's loop has seen what was sent and has gone once around."""
        seen = threading.Event()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to read
            self._loop.call_soon_threadsafe(self._once_the_client_has_read, seen.set)
            self.wait(seen)

    def _once_the_client_has_read(self, then: Callable[[], object]) -> None:
        """Call it in the client's loop, some turns after this, which is called there too.

        The bytes are in the client's socket when the system call that sends them returns. The loop finds them in the
        turn after this one, and calls its reader before the second callback below runs; one more is for the task that
        the reader wakes.
        """
        turn = self._loop.call_soon
        turn(lambda: turn(lambda: turn(then)))

    def wait(self, event: threading.Event) -> None:
        """Wait until the test, or another script, sets the event."""
        if not event.wait(PATIENCE):
            raise TimeoutError(f'nobody set the event within {PATIENCE} s')

    # Ending

    def close(self) -> None:
        """Close the connection as it should be: with TLS, say so first. Does not wait for the client to say it too."""
        self._close_notify()
        self.socket.close()

    def close_without_close_notify(self) -> None:
        """End the TCP connection in the middle of the TLS stream."""
        self.socket.close()

    def shutdown_write(self) -> None:
        """Say that nothing more will be sent, and stay able to receive if it is not TLS."""
        self._close_notify()
        with _client_may_leave():
            self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the TCP connection with RST. A client that is still connecting gets it as an answer to that."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.socket.close()

    def _close_notify(self) -> None:
        if isinstance(self.socket, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):  # no answer yet; or the handshake failed, or it is closed
                self.socket.settimeout(0)
                self.socket.unwrap()


Script = Callable[[Peer], None]


class Server:
    """A listening socket, and what came to it."""

    def __init__(self, sock: socket.socket, tls: ssl.SSLContext | None, scripts: tuple[Script, ...]) -> None:
        self.peers: list[Peer] = []
        """The connections, in the order in which they were accepted."""
        self.refused: list[Exception] = []
        """The TLS handshakes that failed."""
        self.failures: list[BaseException] = []
        """What scripts have raised."""
        self.address = [_info(sock)]
        """What `getaddrinfo` would say about this server."""
        self.port = 0 if sock.family == socket.AF_UNIX else int(sock.getsockname()[1])
        """The port; 0 for a Unix socket."""
        self._socket = sock
        self._tls = tls
        self._scripts = scripts
        self._loop = asyncio.get_running_loop()
        self._stopped = self._loop.create_future()
        self._patience = PATIENCE
        self._awake, self._alarm = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name='scripted server')
        self._thread.start()

    @property
    def accepted(self) -> int:
        """How many connections were accepted."""
        return len(self.peers)

    async def stop(self, patience: float) -> None:
        """Accept what has already connected, but nothing more, and wait until every script has ended.

        A script that has not ended after `patience` seconds loses its connection, and counts as failed.
        """
        self._patience = patience
        self._alarm.close()
        await self._stopped
        self._thread.join()  # it has nothing left to do

    def _run(self) -> None:
        threads = []
        with self._awake:
            while peer := self._accept():
                threads.append(threading.Thread(target=self._serve, args=(peer,), name=f'script {peer.number}'))
                threads[-1].start()
        deadline = time.monotonic() + self._patience
        for thread, peer in zip(threads, self.peers, strict=True):
            thread.join(max(0, deadline - time.monotonic()))
            if thread.is_alive():
                self.failures.append(TimeoutError(f'the script of connection {peer.number} did not end'))
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(peer.socket, socket.SHUT_RDWR)
                thread.join()
        self._loop.call_soon_threadsafe(self._stopped.set_result, None)

    def _accept(self) -> Peer | None:
        ready, _, _ = select.select([self._socket, self._awake], [], [])
        if self._socket not in ready:
            return None
        sock, _ = self._socket.accept()
        peer = Peer(sock, self.accepted, self._loop)
        self.peers.append(peer)
        return peer

    def _serve(self, peer: Peer) -> None:
        script = self._scripts[min(peer.number, len(self._scripts) - 1)]
        try:
            if self._tls is None or self._handshake(peer, self._tls):
                script(peer)
        except ClientLeft:
            pass
        except BaseException as error:
            self.failures.append(error)
        finally:
            peer.close()

    def _handshake(self, peer: Peer, tls: ssl.SSLContext) -> bool:
        try:
            peer.start_tls(tls)
        except OSError as error:  # SSLError is one
            self.refused.append(error)
            return False
        return True


@contextlib.asynccontextmanager
async def scripted(
    *scripts: Script, tls: ssl.SSLContext | None = None, family: socket.AddressFamily = socket.AF_INET
) -> AsyncIterator[Server]:
    """Serve connections by the scripts given. `family`: AF_INET, AF_INET6 or AF_UNIX, on the loopback interface."""
    with _bound(family) as sock:
        sock.listen(4096)
        server = Server(sock, tls, scripts)
        try:
            yield server
        except BaseException as error:
            await server.stop(0)
            for failure in server.failures:
                error.add_note(f'script: {failure!r}')
            raise
        await server.stop(PATIENCE)
    for failure in server.failures:
        raise failure


@contextlib.contextmanager
def refusing(family: socket.AddressFamily = socket.AF_INET) -> Iterator[AddressInfo]:
    """An address that refuses every connection."""
    with _bound(family) as sock:
        yield _info(sock)


@contextlib.contextmanager
def silent(family: socket.AddressFamily = socket.AF_INET) -> Iterator[AddressInfo]:
    """An address that never answers: its queue of connections is full, so the kernel drops all others. Not Unix."""
    with _bound(family) as sock, socket.socket(family) as only:
        sock.listen(0)
        only.connect(sock.getsockname())
        yield _info(sock)


@contextlib.contextmanager
def _bound(family: socket.AddressFamily) -> Iterator[socket.socket]:
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket(family))
        if family == socket.AF_UNIX:
            sock.bind(str(Path(stack.enter_context(tempfile.TemporaryDirectory()), 'socket')))
        else:
            sock.bind(('127.0.0.1' if family == socket.AF_INET else '::1', 0))
        yield sock


def _info(sock: socket.socket) -> AddressInfo:
    protocol = 0 if sock.family == socket.AF_UNIX else socket.IPPROTO_TCP
    return (socket.AddressFamily(sock.family), socket.SOCK_STREAM, protocol, '', sock.getsockname())
