"""A large chunked body, in chunks of a chosen size.

nginx sends chunks of whatever size its buffers happen to have. So the chunks are written to a file beforehand, and
nginx sends the file as it is under `Transfer-Encoding: chunked`. It drops its own Content-Length because the
addition module is on, and makes no chunks of its own because that is off, which costs a `Connection: close`.
"""

from pathlib import Path

from workloads import MEGABYTE, Workload


def chunked(size: int) -> Workload:
    path = f'/chunked_{size}'

    def total(megabytes: int) -> int:
        """Eight times less for the smallest chunks, which no client takes as fast as others."""
        return megabytes * MEGABYTE // (8 if size < 1024 else 1)

    def write_chunks(folder: Path, megabytes: int) -> None:
        count, rest = divmod(total(megabytes), size)
        chunk = b'%x\r\n%b\r\n' % (size, bytes(size))
        with (folder / path.removeprefix('/')).open('wb') as file:
            for _ in range(count):
                file.write(chunk)
            if rest:
                file.write(b'%x\r\n%b\r\n' % (rest, bytes(rest)))
            file.write(b'0\r\n\r\n')

    return Workload(
        name=f'chunked_{size}',
        title=f'Chunked download, chunks of {size} bytes, plain',
        operation='download',
        path=path,
        unit='bytes',
        reuse=False,
        location=lambda megabytes: (
            f'location = {path} {{ add_header Transfer-Encoding chunked; chunked_transfer_encoding off;'
            ' addition_types *; add_after_body /nothing; }'
        ),
        prepare=write_chunks,
        body_bytes=total,
    )


WORKLOADS = (chunked(512), chunked(8192), chunked(65536))
