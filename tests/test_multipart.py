"""multipart/form-data as a streamed body whose length is known beforehand."""

from __future__ import annotations

import lowhaio_multipart


def test_it_can_be_imported() -> None:
    assert lowhaio_multipart.__doc__
