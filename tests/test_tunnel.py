"""Connections through an HTTP proxy (CONNECT) or a SOCKS5 proxy."""

from __future__ import annotations

import lowhaio_tunnel


def test_it_can_be_imported() -> None:
    assert lowhaio_tunnel.__doc__
