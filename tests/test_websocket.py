"""The opening handshake of a WebSocket as header lines, and the check of its response."""

from __future__ import annotations

import lowhaio_websocket


def test_it_can_be_imported() -> None:
    assert lowhaio_websocket.__doc__
