"""An exchange tried again where nothing can be done twice."""

from __future__ import annotations

import lowhaio_retry


def test_it_can_be_imported() -> None:
    assert lowhaio_retry.__doc__
