"""The documentation as a reader meets it: built strictly, served on this machine, and opened in Chromium.

Chromium is Debian's. Where it is not installed the tests are skipped, but not in CI, where a skip is a failure.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urldefrag, urljoin

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect, sync_playwright

from support import programs

ROOT = Path(__file__).parent.parent
FLAGS = [
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-gpu',
    '--disable-quic',
    '--disable-sync',
    '--no-first-run',
    '--no-sandbox',  # it runs as root in CI, and opens nothing but this site
]
DESKTOP: ViewportSize = {'width': 1280, 'height': 900}
PHONE: ViewportSize = {'width': 360, 'height': 740}
PAGES = sorted(
    str(page.relative_to(ROOT / 'docs').with_suffix('')).removesuffix('index').rstrip('/')
    for page in (ROOT / 'docs').glob('**/*.md')
)

# The first test pays for the build of the site and the start of the browser, on machines that may have much to do.
pytestmark = pytest.mark.timeout(300)
expect.set_options(timeout=60_000)

# Only the tests of the search search. Otherwise each page would build the whole index anew, which is half of its work.
NO_SEARCH = 'window.Worker = class extends EventTarget { postMessage() {} }'

LOOK = "[document.querySelectorAll('article h1').length, document.title, document.documentElement.scrollWidth]"

# Pages that are loaded at the same time.
TABS = 4

every_page = pytest.mark.parametrize('path', PAGES, ids=[path or 'index' for path in PAGES])


@dataclass
class Site:
    """Where the built site is, in the file system and on the network."""

    folder: Path
    address: str

    def html(self, url: str) -> str:
        """The HTML of one of its pages."""
        path = self.folder / url.removeprefix(self.address)
        return (path / 'index.html' if path.is_dir() else path).read_text()


@dataclass
class Look:
    """What a page looks like on a phone, and what went wrong there."""

    headings: int
    title: str
    width: int
    errors: list[str]


@dataclass
class Visit:
    """A page in the browser, and what went wrong there."""

    page: Page
    errors: list[str] = field(default_factory=list)


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site, built anew; every warning of the build is an error."""
    folder = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--quiet', '--site-dir', str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    command = [sys.executable, '-u', '-m', 'http.server', '--bind', '127.0.0.1', '--protocol', 'HTTP/1.1']
    command += ['--directory', str(folder), '0']
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            says = re.search(r'http://127\.0\.0\.1:[0-9]+/', server.stdout.readline())
            assert says is not None
            yield Site(folder, says[0])
        finally:
            server.terminate()


@pytest.fixture(scope='module')
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    program = programs.needed('chromium')
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Visit]:
    """A tab on a desktop in daylight, on which nothing has been chosen."""
    with browser.new_context(viewport=DESKTOP, color_scheme='light', base_url=site.address) as context:
        context.add_init_script(NO_SEARCH)
        context.grant_permissions(['clipboard-read', 'clipboard-write'])
        visit = _watched(context.new_page(), site)
        yield visit
        visit.page.wait_for_load_state()
    assert visit.errors == []


@pytest.fixture(scope='module')
def looks(browser: Browser, site: Site, request: pytest.FixtureRequest) -> dict[str, Look]:
    """What the pages that are asked for look like on a phone, loaded in some tabs, a page in each at a time."""
    tests = [item for item in request.session.items if isinstance(item, pytest.Function)]
    paths = [
        str(test.callspec.params['path']) for test in tests if test.function is test_page_loads_and_fits_on_a_phone
    ]
    context = browser.new_context(viewport=PHONE, color_scheme='light', base_url=site.address)
    context.add_init_script(NO_SEARCH)
    tabs = [_watched(context.new_page(), site) for _ in range(TABS)]
    found: dict[str, Look] = {}
    for first in range(0, len(paths), TABS):
        visits = [*zip(tabs, paths[first : first + TABS], strict=False)]
        for tab, path in visits:
            tab.errors = []
            tab.page.goto(f'/{path}/' if path else '/', wait_until='commit')
        for tab, path in visits:
            tab.page.wait_for_load_state()
            headings, title, width = tab.page.evaluate(LOOK)
            found[path] = Look(headings, title, width, tab.errors)
    context.close()
    return found


@pytest.fixture(scope='module')
def search(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    """A desktop on which the search works."""
    context = browser.new_context(viewport=DESKTOP, color_scheme='light', base_url=site.address)
    yield context
    context.close()


@pytest.fixture(scope='module')
def search_tab(search: BrowserContext, site: Site) -> Iterator[Visit]:
    """A tab with the first page, whose index is built once."""
    visit = _watched(search.new_page(), site)
    visit.page.goto('/')
    yield visit
    assert visit.errors == []


def _watched(page: Page, site: Site) -> Visit:
    """The page. What its console says is an error, and so is a request to another site."""
    visit = Visit(page)
    page.on('console', lambda message: visit.errors.append(message.text))
    page.on('pageerror', lambda error: visit.errors.append(str(error)))
    page.on('requestfailed', lambda request: _check_failure(request.url, request.failure, visit))
    page.on('request', lambda request: _check_address(request.url, site, visit))
    page.on('response', lambda response: _check_status(response.url, response.status, visit))
    return visit


def _check_address(url: str, site: Site, visit: Visit) -> None:
    if not url.startswith((site.address, 'data:', 'blob:')):
        visit.errors.append(f'{url} is not on this machine')


def _check_failure(url: str, failure: str | None, visit: Visit) -> None:
    if failure != 'net::ERR_ABORTED':  # which is what becomes of a request whose page has been left
        visit.errors.append(f'{url} failed: {failure}')


def _check_status(url: str, status: int, visit: Visit) -> None:
    if status >= 400:
        visit.errors.append(f'{url} answered {status}')


@every_page
def test_page_loads_and_fits_on_a_phone(looks: dict[str, Look], path: str) -> None:
    """It has a heading, the browser has no complaint, and only code and tables, in their frames, may be too wide."""
    look = looks[path]
    assert look.errors == []
    assert look.headings == 1
    assert 'lowhaio' in look.title
    assert look.width <= PHONE['width'], f'{look.width} pixels wide'


@every_page
def test_page_has_no_dead_link(site: Site, path: str) -> None:
    """Every link within the site leads to a page, and to a place in it that is there."""
    base = urljoin(site.address, f'{path}/' if path else '')
    links = re.findall(r'<(?:a|link|script|img)[^>]*? (?:href|src)="([^"]*)"', site.html(base))
    inside = {urljoin(base, link) for link in links if urljoin(base, link).startswith(site.address)}
    assert len(inside) > 10, 'a page without links has not been read'
    for link in inside:
        url, place = urldefrag(link)
        target = site.folder / url.removeprefix(site.address)
        assert target.exists(), f'{link} is dead'
        assert not place or f'id="{place}"' in site.html(url), f'{link} leads to no place in the page'


@pytest.mark.parametrize('word', ['recv_body', 'max_idle_seconds', 'NonSSLContext', 'TruncatedError'])
def test_search_finds(search_tab: Visit, site: Site, word: str) -> None:
    """What is typed into the search is found, and the first result is a page that holds it."""
    page = search_tab.page
    page.locator('input[name=query]').click()
    page.locator('input[name=query]').fill('')
    expect(page.locator('.md-search-result__meta')).to_have_text('Type to start searching')
    page.locator('input[name=query]').press_sequentially(word)
    expect(page.locator('.md-search-result__item').first).to_contain_text(word)
    link = page.locator('.md-search-result__link').first.get_attribute('href')
    assert link is not None
    assert word in site.html(urldefrag(urljoin(page.url, link)).url.partition('?')[0])


def test_a_result_of_the_search_opens(search: BrowserContext, site: Site) -> None:
    """A click on the first result leads to its page."""
    visit = _watched(search.new_page(), site)
    visit.page.goto('/')
    visit.page.locator('input[name=query]').click()
    expect(visit.page.locator('.md-search-result__meta')).to_have_text('Type to start searching')
    visit.page.locator('input[name=query]').press_sequentially('recv_body')
    visit.page.locator('.md-search-result__link').first.click()
    visit.page.wait_for_url(re.compile(r'/.+/\?h='))
    expect(visit.page.locator('article')).to_contain_text('recv_body')
    visit.page.close()
    assert visit.errors == []


def test_code_is_copied(visit: Visit) -> None:
    """The button in a block of code copies all of it."""
    visit.page.goto('/tutorial')
    block = visit.page.locator('div.highlight').first
    block.hover()
    block.get_by_role('button').click()
    copied = visit.page.evaluate('navigator.clipboard.readText()')
    assert copied.strip() == block.locator('code').inner_text().strip()
    assert 'import lowhaio' in copied


def test_every_block_of_code_has_its_button(visit: Visit) -> None:
    """No block lacks the button that copies it."""
    visit.page.goto('/tutorial')
    blocks = visit.page.locator('div.highlight').count()
    assert blocks > 10
    expect(visit.page.locator('div.highlight button')).to_have_count(blocks)


def test_dark_and_light(visit: Visit) -> None:
    """The page follows the system, and the button goes from one to the other and back; the choice is remembered."""
    page = visit.page
    page.goto('/', wait_until='networkidle')  # the button works a little after the page has loaded
    body = page.locator('body')
    light = _background(page)
    expect(body).to_have_attribute('data-md-color-scheme', 'default')
    page.get_by_title('Dark').click()
    expect(body).to_have_attribute('data-md-color-scheme', 'slate')
    assert _background(page) != light
    page.goto('/tutorial', wait_until='networkidle')
    expect(body).to_have_attribute('data-md-color-scheme', 'slate')
    page.get_by_title('Light').click()
    expect(body).to_have_attribute('data-md-color-scheme', 'default')
    assert _background(page) == light


def test_dark_where_the_system_is_dark(visit: Visit) -> None:
    """Who has set the system to dark gets a dark page at once."""
    visit.page.emulate_media(color_scheme='dark')
    visit.page.goto('/')
    expect(visit.page.locator('body')).to_have_attribute('data-md-color-scheme', 'slate')


def test_diagrams_take_the_colours_of_the_page(visit: Visit) -> None:
    """The three diagrams are drawn in the colour of the text, dark or light."""
    visit.page.goto('/design', wait_until='networkidle')
    expect(visit.page.locator('svg.diagram')).to_have_count(3)
    label = "getComputedStyle(document.querySelector('svg.diagram text')).fill"
    light = visit.page.evaluate(label)
    visit.page.get_by_title('Dark').click()
    expect(visit.page.locator('body')).to_have_attribute('data-md-color-scheme', 'slate')
    assert visit.page.evaluate(label) != light


def _background(page: Page) -> str:
    colour: str = page.evaluate('getComputedStyle(document.body).backgroundColor')
    return colour
