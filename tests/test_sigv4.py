"""AWS Signature Version 4: the header lines that sign a request."""

from __future__ import annotations

import lowhaio_sigv4


def test_it_can_be_imported() -> None:
    assert lowhaio_sigv4.__doc__
