"""What holds the tree together: what every package has, and what none of them may do.

The modules are looked at where they are installed, so that this holds for the wheels as well as for the source tree.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import lowhaio
from support.lines import lines_of_code

ROOT = Path(__file__).parent.parent
DISTRIBUTIONS = sorted(path.name for path in (ROOT / 'packages').iterdir())
MOST_LINES_OF_THE_CORE = 1468  # what it takes today, and a reason to delete something before it grows


@functools.cache
def project(distribution: str) -> dict[str, Any]:
    pyproject = tomllib.loads((ROOT / 'packages' / distribution / 'pyproject.toml').read_text())
    found: dict[str, Any] = pyproject['project']
    return found


# A bridge puts another library's interface on lowhaio (docs/design.md). It says so by its keyword.
BRIDGES = [name for name in DISTRIBUTIONS if 'bridge' in project(name)['keywords']]
RECIPES = [name for name in DISTRIBUTIONS if name not in ('lowhaio-core', *BRIDGES)]
NO_BRIDGES = [name for name in DISTRIBUTIONS if name not in BRIDGES]

every_package = pytest.mark.parametrize('distribution', DISTRIBUTIONS)
every_recipe = pytest.mark.parametrize('distribution', RECIPES)
every_bridge = pytest.mark.parametrize('distribution', BRIDGES)
all_but_bridges = pytest.mark.parametrize('distribution', NO_BRIDGES)


def module(distribution: str) -> ModuleType:
    return importlib.import_module('lowhaio' if distribution == 'lowhaio-core' else distribution.replace('-', '_'))


def folder(distribution: str) -> Path:
    return Path(str(module(distribution).__file__)).parent


def trees(distribution: str) -> list[ast.Module]:
    return [ast.parse(path.read_text()) for path in sorted(folder(distribution).glob('*.py'))]


def imported(tree: ast.Module) -> set[str]:
    """The first part of every absolute import."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module))
    return {name.partition('.')[0] for name in names}


@all_but_bridges
def test_package_depends_on_nothing(distribution: str) -> None:
    """Neither in what it declares nor in what was installed."""
    assert project(distribution)['dependencies'] == []
    assert 'optional-dependencies' not in project(distribution)
    assert importlib.metadata.requires(distribution) is None


@every_package
def test_package_has_the_version_of_all(distribution: str) -> None:
    assert project(distribution)['version'] == project('lowhaio-core')['version']
    assert importlib.metadata.version(distribution) == project('lowhaio-core')['version']


@every_package
def test_package_says_that_it_is_typed(distribution: str) -> None:
    assert (folder(distribution) / 'py.typed').is_file()


@every_package
def test_package_has_the_metadata_of_all(distribution: str) -> None:
    """What an index shows. Only the core and the bridges need an operating system that has what they need."""
    metadata = project(distribution)
    system = 'OS Independent' if distribution in RECIPES else 'POSIX'
    assert metadata['classifiers'] == [
        'Development Status :: 4 - Beta',
        'Framework :: AsyncIO',
        'Intended Audience :: Developers',
        f'Operating System :: {system}',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3 :: Only',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Internet :: WWW/HTTP',
        'Typing :: Typed',
    ]
    assert {'asyncio', 'http'} < set(metadata['keywords'])
    assert metadata['license'] == 'MIT'
    assert metadata['requires-python'] == '>=3.11'
    assert metadata['description']


def test_a_new_recipe_has_the_metadata_of_all() -> None:
    """`make recipe` writes what the test above asks for."""
    template = (ROOT / 'tools' / 'recipe.py').read_text()
    of_a_recipe = (ROOT / 'packages' / 'lowhaio-buffered' / 'pyproject.toml').read_text()
    classifiers = re.search(r'^classifiers = .*?^\]$', of_a_recipe, re.MULTILINE | re.DOTALL)
    assert classifiers is not None
    assert classifiers[0] in template


@every_package
def test_package_has_a_readme_with_an_example(distribution: str) -> None:
    text = (ROOT / 'packages' / distribution / 'README.md').read_text()
    assert text.startswith(f'# {distribution}\n')
    assert '```python\n' in text
    assert project(distribution)['readme'] == 'README.md'


@every_package
def test_package_has_a_page_in_the_navigation(distribution: str) -> None:
    name = distribution.removeprefix('lowhaio-')
    page = 'tutorial.md' if name == 'core' else f'recipes/{name}.md'
    assert (ROOT / 'docs' / page).is_file()
    assert f': {page}\n' in (ROOT / 'mkdocs.yml').read_text()


@every_package
def test_package_is_in_the_changelog_and_in_the_readme(distribution: str) -> None:
    for file in ('CHANGELOG.md', 'README.md'):
        assert re.search(rf'\b{distribution}\b', (ROOT / file).read_text()), f'{file} does not name {distribution}'


@every_package
def test_version_is_in_the_changelog(distribution: str) -> None:
    assert f'## {project(distribution)["version"]}' in (ROOT / 'CHANGELOG.md').read_text()


@every_package
def test_all_is_what_the_module_defines(distribution: str) -> None:
    """`__all__` is in order, and holds every name without an underscore that is not imported from elsewhere."""
    names = module(distribution).__all__
    assert sorted(names) == sorted(set(names)), 'a name is there twice'
    assert set(names) == defined(trees(distribution)[0], relative=distribution == 'lowhaio-core')


def defined(tree: ast.Module, *, relative: bool) -> set[str]:
    """The public names of a module: what it defines and, if `relative`, what it imports from modules beside it."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif relative and isinstance(node, ast.ImportFrom) and node.level:
            names |= {alias.asname or alias.name for alias in node.names}
    return {name for name in names if not name.startswith('_')}


@every_package
def test_public_names_are_in_the_reference(distribution: str) -> None:
    """A recipe is there as a whole, in the order of its `__all__`, the core name by name."""
    pages = ''.join(page.read_text() for page in (ROOT / 'docs' / 'reference').glob('*.md'))
    shown = set(re.findall(r'^::: (\S+)$', pages, re.MULTILINE))
    name = module(distribution).__name__
    wanted = {f'lowhaio.{public}' for public in lowhaio.__all__} if name == 'lowhaio' else {name}
    assert wanted <= shown


def test_functions_of_the_pool_are_in_the_reference() -> None:
    """Each has a heading that says how it is called."""
    page = (ROOT / 'docs' / 'reference' / 'core.md').read_text()
    for name in ('connection', 'send', 'recv_status_line', 'recv_headers', 'recv_body'):
        assert callable(getattr(lowhaio.Pool, name))
        assert f'heading: pool.{name}\n' in page


def test_attributes_of_a_connection_are_in_the_reference() -> None:
    """All that its docstring allows callers to use: its properties, and `reused`, of which the docstring tells."""
    page = (ROOT / 'docs' / 'reference' / 'core.md').read_text()
    shown = re.findall(r'^::: lowhaio\.Connection\n +options:\n +members: \[(.*)\]$', page, re.MULTILINE)
    properties = [name for name, value in vars(lowhaio.Connection).items() if isinstance(value, property)]
    assert sorted(shown[0].split(', ')) == sorted(properties)
    assert 'reused:' in str(lowhaio.Connection.__doc__)


def test_architecture_names_every_module_of_the_core() -> None:
    text = (ROOT / 'docs' / 'architecture.md').read_text()
    named = re.findall(r'^\| `(\w+\.py)` \|', text, re.MULTILINE)
    assert sorted(named) == sorted(path.name for path in folder('lowhaio-core').glob('*.py') if path.stem != '__init__')


def test_design_names_every_module_of_the_core() -> None:
    """But for the two that need no explanation."""
    names = {path.stem for path in folder('lowhaio-core').glob('*.py')} - {'__init__', 'errors'}
    named = re.findall(r'^\| (`.*?`) \|', (ROOT / 'docs' / 'design.md').read_text(), re.MULTILINE)
    assert {name.strip('`') for cell in named for name in cell.split(', ')} == names


@all_but_bridges
def test_package_imports_only_the_standard_library(distribution: str) -> None:
    """Recipes neither the core nor each other; the core imports itself only by relative imports."""
    for tree in trees(distribution):
        assert imported(tree) <= sys.stdlib_module_names


@every_recipe
def test_recipe_is_one_file(distribution: str) -> None:
    assert [path.name for path in folder(distribution).glob('*.py')] == ['__init__.py']


@all_but_bridges
def test_import_brings_in_nothing_but_the_standard_library(distribution: str) -> None:
    """In an interpreter of its own: `site` may have loaded more, so what counts is what the import has added."""
    name = module(distribution).__name__
    program = f'import sys; before = set(sys.modules); import {name}; print(*(set(sys.modules) - before))'
    done = subprocess.run([sys.executable, '-c', program], check=True, capture_output=True, text=True)
    added = {added.partition('.')[0] for added in done.stdout.split()}
    assert added - sys.stdlib_module_names == {name}


@every_bridge
def test_bridge_depends_on_the_other_library_alone(distribution: str) -> None:
    """On one at most, and on none of these packages: other projects own their names where packages are published."""
    dependencies = project(distribution)['dependencies']
    assert len(dependencies) <= 1
    assert not any(dependency.startswith('lowhaio') for dependency in dependencies)
    assert 'optional-dependencies' not in project(distribution)
    assert (importlib.metadata.requires(distribution) or []) == dependencies


@every_bridge
def test_bridge_is_one_file(distribution: str) -> None:
    assert [path.name for path in folder(distribution).glob('*.py')] == ['__init__.py']


@every_bridge
def test_bridge_imports_lowhaio_and_the_other_library_alone(distribution: str) -> None:
    """And what the other library itself depends on, as its exceptions may be from there."""
    allowed = {module(name).__name__ for name in DISTRIBUTIONS}
    for dependency in project(distribution)['dependencies']:
        name = re.split(r'[^\w-]', dependency)[0]
        below = importlib.metadata.requires(name) or []
        allowed |= {name} | {re.split(r'[^\w-]', requirement)[0] for requirement in below}
    (tree,) = trees(distribution)
    assert imported(tree) - sys.stdlib_module_names <= allowed
    assert any(name.startswith('lowhaio') for name in imported(tree))


@every_bridge
def test_bridge_has_its_row_where_people_pick(distribution: str) -> None:
    """What you have, the package, its lines of code and what it is tested against."""
    (path,) = folder(distribution).glob('*.py')
    size = lines_of_code(path.read_text())
    row = rf'^\| [^|]+ \| \[{distribution}\]\({distribution.removeprefix("lowhaio-")}\.md\) \| {size} \| [^|]+ \|$'
    assert re.search(row, (ROOT / 'docs' / 'recipes' / 'index.md').read_text(), re.MULTILINE), size


def test_architecture_names_tests_that_are_there() -> None:
    """The table of promises says which file or which test guards each."""
    page = (ROOT / 'docs' / 'architecture.md').read_text()
    sources = {path.name: path.read_text() for path in (ROOT / 'tests').glob('test_*.py')}
    files = re.findall(r'`(test_\w+\.py)`', page)
    assert len(files) >= 20
    assert set(files) <= sources.keys()
    for name in re.findall(r'`(test_(?!N_)\w+)`', page):
        assert any(re.search(rf'^(async )?def {name}\(', source, re.MULTILINE) for source in sources.values()), name
    for number in range(1, 13):
        assert any(
            re.search(rf'^async def test_([0-9]+_)*{number}_', source, re.MULTILINE) for source in sources.values()
        )


def test_core_is_small() -> None:
    """Lines of code, without blank lines, comments and docstrings: the core can be read in an evening."""
    sizes = {path.name: lines_of_code(path.read_text()) for path in folder('lowhaio-core').glob('*.py')}
    assert sum(sizes.values()) <= MOST_LINES_OF_THE_CORE, sizes


def test_lines_of_code_are_counted_right() -> None:
    """The measure itself, on a source of five lines of code."""
    source = [
        '"""Docstring,',
        '',
        'of three lines."""',
        '# comment',
        '',
        'A = """first',
        'second"""  # comment',
        '"""About A."""',
        'def f():',
        '    """Docstring."""',
        '    return (',
        '        1)',
    ]
    assert lines_of_code('\n'.join(source)) == 5


@every_recipe
def test_recipe_has_its_row_where_people_pick(distribution: str) -> None:
    """What you want, the package, the layer, its lines of code and what it is tested against."""
    size = sum(lines_of_code(path.read_text()) for path in folder(distribution).glob('*.py'))
    page = f'{distribution.removeprefix("lowhaio-")}.md'
    row = rf'^\| [^|]+ \| \[{distribution}\]\({page}\) \| (connection|headers|body|exchange) \| {size} \| [^|]+ \|$'
    assert re.search(row, (ROOT / 'docs' / 'recipes' / 'index.md').read_text(), re.MULTILINE), size


@every_recipe
def test_recipe_is_small(distribution: str) -> None:
    assert sum(lines_of_code(path.read_text()) for path in folder(distribution).glob('*.py')) <= 150


def test_example_of_s3_is_as_small_as_its_page_says() -> None:
    assert 'in less than 80 lines of code' in (ROOT / 'docs' / 'recipes' / 'sigv4.md').read_text()
    assert lines_of_code((ROOT / 'examples' / 's3_client.py').read_text()) < 80


@every_recipe
def test_recipe_has_a_test_file(distribution: str) -> None:
    assert (ROOT / 'tests' / f'test_{distribution.removeprefix("lowhaio-")}.py').is_file()
