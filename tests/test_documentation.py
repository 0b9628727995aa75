"""Every Python fence of the READMEs and the documentation runs, and prints what the page says it prints.

The fences of one page run in order and share their names, once for all tests of the page. What they need is told in
`support.example_com`: no page sees a name that it has not made itself, but `docs/recipes/uvloop.md`, which says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
from pathlib import Path

import pytest

from support import leaks
from support.example_com import Authorities, ExampleLoop, ExamplePolicy, servers, surroundings
from support.fences import LANGUAGES, Fence, Outcome, fences_of, run

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / 'README.md', *ROOT.glob('packages/*/README.md'), *ROOT.glob('docs/**/*.md')])
FENCES = {page: fences_of(page, ROOT) for page in PAGES}
NEEDS_PORT = ROOT / 'docs' / 'recipes' / 'uvloop.md'


@pytest.fixture(scope='session')
def authorities() -> Authorities:
    """Certificates for the servers of the documentation."""
    return Authorities()


@pytest.fixture(scope='session')
def outcomes(authorities: Authorities, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What became of the fences of a page."""
    return Outcomes(authorities, tmp_path_factory)


class Outcomes:
    """Runs a page when the first of its fences is asked for."""

    def __init__(self, authorities: Authorities, folders: pytest.TempPathFactory) -> None:
        self._authorities = authorities
        self._folders = folders
        self.of = functools.cache(self._run)

    def _run(self, page: Path) -> dict[str, Outcome]:
        folder = self._folders.mktemp('page')
        with surroundings(folder, self._authorities), asyncio.Runner(loop_factory=ExampleLoop) as runner:
            stack = contextlib.AsyncExitStack()
            port = runner.run(stack.enter_async_context(servers(folder, self._authorities)))
            loop = runner.get_loop()
            assert isinstance(loop, ExampleLoop)
            asyncio.set_event_loop_policy(ExamplePolicy(loop))
            try:
                names: dict[str, object] = {'port': port} if page == NEEDS_PORT else {}
                outcomes = run(FENCES[page], runner, names)
            finally:
                asyncio.set_event_loop_policy(None)
                runner.run(stack.aclose())
            assert runner.run(leaks.in_loop()) == []
        return outcomes


@pytest.mark.parametrize(
    ('page', 'fence'),
    [
        pytest.param(page, fence, id=fence.place)
        for page, fences in FENCES.items()
        for fence in fences
        if fence.language == 'python'
    ],
)
def test_fence_runs(outcomes: Outcomes, page: Path, fence: Fence) -> None:
    """A fence raises nothing, and prints what the text fence after it holds."""
    outcome = outcomes.of(page)[fence.place]
    if outcome.failure is not None:
        raise outcome.failure
    assert outcome.printed == (fence.output or '')


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_fence_gets_away(page: Path) -> None:
    """Every fence has one of the names that the tests know, so none is Python by another name, and none is unclosed."""
    assert {fence.language for fence in FENCES[page]} <= LANGUAGES
    marks = [line for line in page.read_text().splitlines() if line.lstrip().startswith(('```', '~~~'))]
    assert len(marks) == 2 * len(FENCES[page])


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_has_an_example(page: Path) -> None:
    """Every page has a Python fence, but for those made from docstrings and from measurements."""
    made = page.parent.name == 'reference' or page.name.startswith('measurements')
    assert made or any(fence.language == 'python' for fence in FENCES[page])


@pytest.mark.parametrize('page', [page for page in PAGES if page.parent.name == 'recipes'], ids=lambda page: page.stem)
def test_page_says_what_to_install(page: Path) -> None:
    """Every package of this repository that a recipe's page imports is in its line for pip."""
    code = '\n'.join(fence.code for fence in FENCES[page] if fence.language == 'python')
    imported = {
        name.strip('_') or 'core' for name in re.findall(r'^ *(?:import|from) lowhaio(\w*)', code, re.MULTILINE)
    }
    shell = '\n'.join(fence.code for fence in FENCES[page] if fence.language == 'shell')
    installed = set(re.findall(r'\w+', ' '.join(re.findall(r'/lowhaio-(\w+|\{[\w,]+\})', shell))))
    assert imported - {'httpx', 'httpx2', 'transport'} <= installed or page.stem == 'index'
