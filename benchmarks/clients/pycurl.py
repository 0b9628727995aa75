"""pycurl: one handle a connection, kept, driven by libcurl's socket interface and epoll, as it advises for many.

The headers are taken as lines and left as they are.
"""

import contextlib
import select
from collections.abc import Callable, Iterator

import pycurl

from job import PIECE, Drive, Job, NotOffered


class Transfer:
    def __init__(self, job: Job) -> None:
        self._upload_bytes = job.upload_bytes
        self.headers: list[bytes] = []
        self.body: list[bytes] = []
        self.clear()

    def clear(self) -> None:
        self.headers.clear()
        self.body.clear()
        self._counted = 0
        self._unread = self._upload_bytes

    def count(self, data: bytes) -> None:
        self._counted += len(data)

    def read(self, size: int) -> bytes:
        size = min(size, self._unread, len(PIECE))
        self._unread -= size
        return PIECE[:size]

    @property
    def length(self) -> int:
        return self._counted or len(b''.join(self.body))


@contextlib.contextmanager
def multi_client(job: Job) -> Iterator[Drive]:
    if job.operation == 'post':
        raise NotOffered('no post')
    epoll = select.epoll()
    registered: set[int] = set()
    wait_milliseconds = 0
    transfers: dict[pycurl.Curl, Transfer] = {}
    multi = pycurl.CurlMulti()

    def watch(action: int, descriptor: int, _multi: object, _data: object) -> None:
        events = (select.EPOLLIN if action & pycurl.POLL_IN else 0) | (
            select.EPOLLOUT if action & pycurl.POLL_OUT else 0
        )
        if action == pycurl.POLL_REMOVE:
            registered.discard(descriptor)
            epoll.unregister(descriptor)
        elif descriptor in registered:
            epoll.modify(descriptor, events)
        else:
            registered.add(descriptor)
            epoll.register(descriptor, events)

    def set_timer(milliseconds: int) -> None:
        nonlocal wait_milliseconds
        wait_milliseconds = milliseconds

    multi.setopt(pycurl.M_SOCKETFUNCTION, watch)
    multi.setopt(pycurl.M_TIMERFUNCTION, set_timer)
    multi.setopt(pycurl.M_MAXCONNECTS, job.connections)

    def handle() -> pycurl.Curl:
        curl = pycurl.Curl()
        transfer = transfers[curl] = Transfer(job)
        curl.setopt(pycurl.URL, job.url)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.BUFFERSIZE, len(PIECE))
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.HEADERFUNCTION, transfer.headers.append)
        curl.setopt(pycurl.WRITEFUNCTION, transfer.count if job.operation == 'download' else transfer.body.append)
        curl.setopt(pycurl.READFUNCTION, transfer.read)
        if job.path == '/gzip':
            curl.setopt(pycurl.ACCEPT_ENCODING, 'gzip')
        if job.authority:
            curl.setopt(pycurl.CAINFO, job.authority)
        if job.operation == 'upload':
            curl.setopt(pycurl.POST, 1)
            curl.setopt(pycurl.POSTFIELDSIZE_LARGE, job.upload_bytes)
            curl.setopt(pycurl.UPLOAD_BUFFERSIZE, len(PIECE))
            curl.setopt(pycurl.HTTPHEADER, ['expect:'])
        return curl

    idle = [handle() for _ in range(job.connections)]

    def drive(more: Callable[[], bool], done: Callable[[int, int], None]) -> None:
        nonlocal wait_milliseconds
        running = 0
        wanted = True
        while True:
            while idle and wanted and (wanted := more()):
                curl = idle.pop()
                transfers[curl].clear()
                multi.add_handle(curl)
                running += 1
            if not running:
                return
            events = epoll.poll(max(wait_milliseconds, 0) / 1000 if wait_milliseconds >= 0 else None)
            if not events or wait_milliseconds == 0:
                wait_milliseconds = -1
                multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            for descriptor, _ in events:
                multi.socket_action(descriptor, 0)
            _, succeeded, failed = multi.info_read(job.connections)
            for _, code, message in failed:
                raise OSError(code, message)
            for curl in succeeded:
                multi.remove_handle(curl)
                done(curl.getinfo(pycurl.RESPONSE_CODE), transfers[curl].length)
                idle.append(curl)
                running -= 1

    with contextlib.closing(multi), epoll:
        yield drive
