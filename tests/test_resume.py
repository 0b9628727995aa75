"""A download that goes on where it broke off."""

from __future__ import annotations

import lowhaio_resume


def test_it_can_be_imported() -> None:
    assert lowhaio_resume.__doc__
