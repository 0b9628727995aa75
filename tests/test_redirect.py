"""An exchange that follows redirects and keeps credentials with their origin."""

from __future__ import annotations

import lowhaio_redirect


def test_it_can_be_imported() -> None:
    assert lowhaio_redirect.__doc__
