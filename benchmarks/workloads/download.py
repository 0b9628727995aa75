"""One large body after another over one connection: with a Content-Length, and with gzip."""

import gzip
import itertools
import random
from pathlib import Path

from workloads import MEGABYTE, Workload

GZIP_BYTES = 64 * MEGABYTE


def write_body(folder: Path, megabytes: int) -> None:
    block = random.Random(1).randbytes(MEGABYTE)
    with (folder / 'body').open('wb') as file:
        for _ in range(megabytes):
            file.write(block)


def write_gzip(folder: Path, megabytes: int) -> None:
    """Words in random order, which gzip makes about four times smaller, as it does with text."""
    source = random.Random(1)
    words = [bytes(source.choices(b'etaoinshrdlu', k=source.randint(2, 9))) for _ in range(2000)]
    block = b' '.join(itertools.islice(source.choices(words, k=MEGABYTE), MEGABYTE))[:MEGABYTE]
    with gzip.GzipFile(folder / 'gzip.gz', 'wb', compresslevel=6, mtime=0) as file:
        for _ in range(GZIP_BYTES // MEGABYTE):
            file.write(block)


def download(name: str, *, tls: bool) -> Workload:
    return Workload(
        name=name,
        title=f'Download with a Content-Length, {"TLS" if tls else "plain"}',
        operation='download',
        path='/body',
        unit='bytes',
        tls=tls,
        location=lambda megabytes: 'location = /body { }',
        prepare=write_body,
        body_bytes=lambda megabytes: megabytes * MEGABYTE,
    )


WORKLOADS = (
    download('download', tls=False),
    download('download_tls', tls=True),
    Workload(
        name='download_gzip',
        title='Download with gzip, decoded, plain',
        operation='download',
        path='/gzip',
        unit='bytes',
        location=lambda megabytes: 'location = /gzip { gzip_static always; }',
        prepare=write_gzip,
        body_bytes=lambda megabytes: GZIP_BYTES,
    ),
)
