"""How `make test` shares out the tests between several workers, with pytest-xdist.

A file of tests is one worker's, so that its servers start once. Those in `SPLIT` take long, and have no servers of
their own: of these, the cases of one test that begin with the same parameter, the loop or the page, stay together.
"""

from __future__ import annotations

import re

from xdist.scheduler import LoadScopeScheduling

SPLIT = ('test_cancellation.py', 'test_documentation.py', 'test_fault_proxy.py', 'test_fuzz.py', 'test_wire.py')


class Scheduler(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives whole groups of tests to the workers, each the next one when it is nearly done with what it has."""

    def _split_scope(self, nodeid: str) -> str:
        path, _, test = nodeid.partition('::')
        return f'{path}::{re.split("[-:]", test)[0]}' if path.endswith(SPLIT) else path
