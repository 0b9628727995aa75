"""What every test gets: its event loop, the leak guard, and the servers and certificates it asks for."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import TypeVar, cast

import pytest
import uvloop

from support import leaks, programs, real, s3, workers
from support.certificates import Authority, Files
from support.loops import AsyncioLoop, ClockLoop, UvloopLoop


def pytest_asyncio_loop_factories(item: pytest.Function) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every async test on asyncio's loop and on uvloop, but for one that needs no more than one of them.

    That is one that asks for the clock, on the loop that has it, and one that is marked so: it asks nothing of a loop.
    """
    if 'clock' in item.fixturenames:
        return {'clock': ClockLoop}
    if item.get_closest_marker('one_loop'):
        return {'asyncio': AsyncioLoop}
    return {'asyncio': AsyncioLoop, 'uvloop': UvloopLoop}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Function]) -> None:
    """Run the rest, if an earlier run has left one; give async tests the guard of their loop, which others lack."""
    if (rest := programs.rest()) is not None:
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in rest])
        items[:] = [item for item in items if item.nodeid in rest]
    if hasattr(config, 'workerinput'):  # of pytest-xdist
        workers.begin_with_the_longest(items)
    for item in items:
        if item.get_closest_marker('asyncio') and 'loop_leak_guard' not in item.fixturenames:
            item.fixturenames.insert(item.fixturenames.index('leak_guard') + 1, 'loop_leak_guard')


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> workers.Scheduler:
    """Keep together what shares a server."""
    return workers.Scheduler(config, log)


def pytest_collection_finish() -> None:
    """Prepare for the leak guard."""
    uvloop.new_event_loop().close()  # the first one opens a pipe that the process keeps


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that is skipped, or expected to fail, has failed; but not where no programs are to be seen."""
    return _not_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI a file that is skipped as a whole has failed too."""
    return _not_skipped((yield))


_Report = TypeVar('_Report', pytest.TestReport, pytest.CollectReport)


def _not_skipped(report: _Report) -> _Report:
    if report.skipped and 'CI' in os.environ:
        if programs.BARE:
            programs.left_for_the_rest(report.nodeid)
        else:
            report.outcome = 'failed'
            report.longrepr = f'Nothing may be skipped in CI: {report.longrepr}'
    return report


@pytest.fixture(autouse=True)
def leak_guard() -> Iterator[None]:
    """Fail a test that leaves descriptors or threads behind. Set up first, it looks last, after the loop is closed."""
    gc.collect()
    gc.freeze()  # the collector, which runs twice after every test, passes over all that was there before this one
    descriptors, threads = leaks.descriptors(), set(threading.enumerate())
    yield
    _fail_for(leaks.in_process(descriptors, threads))


@pytest.fixture
async def loop_leak_guard() -> AsyncIterator[None]:
    """Fail a test that leaves something behind in its loop. Set up right after `leak_guard`, it looks before it."""
    yield
    _fail_for(await leaks.in_loop())


def _fail_for(found: list[str]) -> None:
    if found:
        pytest.fail('Left behind by the test:\n' + '\n'.join(found), pytrace=False)


@pytest.fixture
async def clock() -> ClockLoop:
    """The running loop, whose clock only moves when the test says so."""
    return cast(ClockLoop, asyncio.get_running_loop())


@pytest.fixture(scope='session')
def authority() -> Authority:
    """The certificate authority of the servers under test."""
    return Authority()


@pytest.fixture(scope='session')
def other_authority() -> Authority:
    """An authority that `client_tls` does not trust."""
    return Authority()


@pytest.fixture(scope='session')
def server_tls(authority: Authority) -> ssl.SSLContext:
    """A server's context for `localhost`, 127.0.0.1 and ::1."""
    return authority.server()


@pytest.fixture(scope='session')
def client_tls(authority: Authority) -> ssl.SSLContext:
    """A client's context that trusts `server_tls` and checks host names."""
    return authority.client()


@pytest.fixture(scope='session')
def certificate_files(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The certificate of `server_tls` in files."""
    return authority.write(tmp_path_factory.mktemp('certificates'))


@pytest.fixture(scope='session')
def granian(certificate_files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.RealServer]:
    """granian, serving `support.app`."""
    with real.granian(certificate_files, tmp_path_factory.mktemp('granian')) as server:
        yield server


@pytest.fixture(scope='session')
def hypercorn(certificate_files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.RealServer]:
    """hypercorn, serving `support.app`."""
    with real.hypercorn(certificate_files, tmp_path_factory.mktemp('hypercorn')) as server:
        yield server


@pytest.fixture(scope='session')
def nginx(certificate_files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.RealServer]:
    """nginx. Where it is not installed the test is skipped, but not in CI."""
    with real.nginx(certificate_files, tmp_path_factory.mktemp('nginx')) as server:
        yield server


@pytest.fixture(scope='session')
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Moto]:
    """moto, which is S3 and other services of AWS, and checks signatures."""
    with s3.moto(tmp_path_factory.mktemp('moto')) as server:
        yield server


@pytest.fixture(scope='session', params=['granian', 'hypercorn', 'nginx'])
def real_server(request: pytest.FixtureRequest) -> real.RealServer:
    """Each of the real servers in turn."""
    return cast(real.RealServer, request.getfixturevalue(request.param))
