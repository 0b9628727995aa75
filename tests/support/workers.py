"""How `make test` shares out the tests between several workers, with pytest-xdist.

A file of tests is one worker's, so that its servers start once. Those in `SPLIT` take long, and have no servers of
their own: of these, the cases of one test that begin with the same parameter, the loop or the page, stay together.
Those in `FIRST` take long and can't be split: begun last, they would leave the other workers with nothing to do.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

SPLIT = ('test_cancellation.py', 'test_documentation.py', 'test_fault_proxy.py', 'test_fuzz.py', 'test_wire.py')
FIRST = ('test_example_many_machines.py', 'test_site.py', 'test_context_conformance.py', 'test_example_s3.py')


def begin_with_the_longest(items: list[pytest.Function]) -> None:
    """Put what is in `FIRST` before all others, which stay in the order in which they are."""
    items.sort(key=lambda item: Path(item.path).name not in FIRST)


class Scheduler(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives whole groups of tests to the workers, in the order of the tests, each when it is nearly done with one."""

    def schedule(self) -> None:
        """Share out the tests, whatever the sizes of the groups."""
        self.config.option.loadscopereorder = False
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        path, _, test = nodeid.partition('::')
        return f'{path}::{re.split("[-:]", test)[0]}' if path.endswith(SPLIT) else path
