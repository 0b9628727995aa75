"""Server-sent events: a body of bytes to events."""

from __future__ import annotations

import lowhaio_sse


def test_it_can_be_imported() -> None:
    assert lowhaio_sse.__doc__
