"""Streams of events, many at once, as fast as they can be taken: each event is a chunk of its own.

So come the tokens of a language model, only more slowly. The chunks are written to a file beforehand, as in
`chunked.py`. nginx reads and writes them one by one, and what it writes while the client is busy arrives together: a
client that takes nothing in between finds some 25 events at once. A stream ends with its connection.
"""

from pathlib import Path

from workloads import Workload

EVENTS = 2000
"""Of a stream."""

CHUNK_BYTES = 256
"""What nginx reads at once: an event with the framing of its chunk."""

PREFIX = b'event: delta\ndata: {"index": 0, "text": "'
SUFFIX = b'"}\n\n'
EVENT_BYTES = CHUNK_BYTES - len(b'fa\r\n\r\n')


def write_events(folder: Path, megabytes: int) -> None:
    event = PREFIX.ljust(EVENT_BYTES - len(SUFFIX), b'x') + SUFFIX
    chunk = b'%x\r\n%b\r\n' % (len(event), event)
    (folder / 'events').write_bytes(chunk * EVENTS + b'0\r\n\r\n')


LOCATION = f"""
        location = /events {{
            add_header Transfer-Encoding chunked;
            chunked_transfer_encoding off;
            addition_types *;
            add_after_body /nothing;
            default_type text/event-stream;
            sendfile off;
            tcp_nopush off;
            output_buffers 1 {CHUNK_BYTES};
            postpone_output 0;
        }}"""


def streams(connections: int, *, tls: bool) -> Workload:
    return Workload(
        name=f'events_{connections}{"_tls" * tls}',
        title=f'Streams of events, {connections} at once, {"TLS" if tls else "plain"}',
        operation='download',
        path='/events',
        unit='events',
        tls=tls,
        connections=connections,
        reuse=False,
        location=lambda megabytes: LOCATION,
        prepare=write_events,
        body_bytes=lambda megabytes: EVENTS * EVENT_BYTES,
        event_bytes=EVENT_BYTES,
    )


WORKLOADS = (streams(20, tls=False), streams(20, tls=True))
