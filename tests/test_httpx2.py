"""httpx2 on lowhaio: a transport for its AsyncClient."""

from __future__ import annotations

import lowhaio_httpx2


def test_it_can_be_imported() -> None:
    assert lowhaio_httpx2.__doc__
