"""The programs that tests use where they are installed: servers, proxies and a browser, from Debian's packages.

`path_of('nginx')` is where it is, or None; `needed('nginx')` skips the test instead. Nothing else in the tests looks
for a program, so with LOWHAIO_TESTS_BARE=1 in the environment none is there, and the tests run as on a machine that
has nothing but Python.

With LOWHAIO_TESTS_REST=FILE too, such a run adds to the file what it has skipped; and a run without
LOWHAIO_TESTS_BARE runs just that, so that both together are one whole run.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

BARE = os.environ.get('LOWHAIO_TESTS_BARE', '') not in {'', '0'}
"""Whether none of them is to be seen."""

_REST = os.environ.get('LOWHAIO_TESTS_REST')

_PATH = (
    f'{os.environ.get("PATH", os.defpath)}:/usr/sbin:/usr/local/sbin'  # only root's PATH has the last two everywhere
)


def path_of(program: str) -> str | None:
    """Where a program is, if it is installed."""
    return None if BARE else shutil.which(program, path=_PATH)


def needed(program: str) -> str:
    """Where a program is. If it is not installed the test is skipped, but not in CI."""
    path = path_of(program)
    if path is None:
        pytest.skip(f'{program} is not installed')
    return path


def left_for_the_rest(test: str) -> None:
    """Keep in mind that a test was skipped."""
    if BARE and _REST:
        with Path(_REST).open('a') as file:
            file.write(f'{test}\n')


def rest() -> set[str] | None:
    """The tests to run, if they are not all."""
    return set(Path(_REST).read_text().splitlines()) if _REST and not BARE else None
