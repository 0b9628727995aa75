"""Any decompressor with the interface of the standard library as a body wrapper: zstd, bz2, xz, brotli."""

from __future__ import annotations

import lowhaio_codings


def test_it_can_be_imported() -> None:
    assert lowhaio_codings.__doc__
