"""A resolver with a cache: one query at a time for a name."""

from __future__ import annotations

import lowhaio_resolve


def test_it_can_be_imported() -> None:
    assert lowhaio_resolve.__doc__
