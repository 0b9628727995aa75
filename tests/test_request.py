"""One call for one request, from a URL to a status, headers and a body."""

from __future__ import annotations

import lowhaio_request


def test_it_can_be_imported() -> None:
    assert lowhaio_request.__doc__
