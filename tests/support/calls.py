"""How much work something is, as the number of functions that it calls.

with Calls() as calls:
... the work ...
assert calls.count < 1000
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Self


class Calls:
    """Counts the calls of functions, those written in C too, while its block is active."""

    def __enter__(self) -> Self:
        self.count = 0
        sys.setprofile(self._on_event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _on_event(self, frame: FrameType, event: str, argument: object) -> None:
        self.count += event in ('call', 'c_call')
