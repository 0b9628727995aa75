"""A plugin for pytest that counts what `docs/reliability.md` tells: `make figures`.

It changes nothing in what it counts: Python tells it of every call.
"""

from __future__ import annotations

import collections
import sys
import types
from collections.abc import Iterator

import pytest

COUNTED = {
    'test_vectors.<locals>.opened': 'exchanges for vectors: each response, and the probe after it',
    'test_vectors_over_tls.<locals>.opened': 'exchanges for vectors: each response, and the probe after it',
    'FaultProxy.arm': 'faults between the client and a real server',
}
SUSPENDED = '_Steps.suspended'
CANCELLED = 'suspensions cancelled'

_figures: collections.Counter[str] = collections.Counter()


def _on_event(frame: types.FrameType, event: str, arg: object) -> None:
    name = frame.f_code.co_qualname
    if event == 'call' and name in COUNTED:
        _figures[COUNTED[name]] += 1
    elif event == 'c_call' and name == SUSPENDED and getattr(arg, '__name__', '') in ('cancel', 'add_done_callback'):
        _figures[CANCELLED] += 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Count while a test runs."""
    sys.setprofile(_on_event)
    try:
        return (yield)
    finally:
        sys.setprofile(None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was counted."""
    terminalreporter.section('figures')
    for name, count in sorted(_figures.items()):
        terminalreporter.line(f'{count:9,} {name}')
