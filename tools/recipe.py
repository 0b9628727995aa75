"""Begin a recipe: `make recipe NAME=thing` makes packages/lowhaio-thing and everything that goes with it.

What is there afterwards is complete and empty: a package that installs and imports, a test, a page with an example, and
the rows by which people and tools find it. It has no idea in it yet, which is the part that is left to you.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

PYPROJECT = """\
[build-system]
requires = ['hatchling']
build-backend = 'hatchling.build'

[project]
name = 'lowhaio-{name}'
version = '{version}'
description = '{idea}'
readme = 'README.md'
requires-python = '>=3.11'
license = 'MIT'
authors = [{{ name = 'the lowhaio authors' }}]
keywords = ['asyncio', 'http', '{name}']
classifiers = [
    'Development Status :: 4 - Beta',
    'Framework :: AsyncIO',
    'Intended Audience :: Developers',
    'Operating System :: OS Independent',
    'Programming Language :: Python :: 3',
    'Programming Language :: Python :: 3 :: Only',
    'Programming Language :: Python :: 3.11',
    'Programming Language :: Python :: 3.12',
    'Programming Language :: Python :: 3.13',
    'Topic :: Internet :: WWW/HTTP',
    'Typing :: Typed',
]
dependencies = []

[tool.hatch.build.targets.wheel]
packages = ['src/lowhaio_{name}']
"""

MODULE = '''\
"""{idea}."""

__all__: list[str] = []
'''

README = """\
# lowhaio-{name}

{idea}.

From a checkout: `pip install ./packages/lowhaio-{name}`.

```python
import lowhaio_{name}
```
"""

PAGE = """\
# {title}

{idea}.

```shell
pip install ./packages/lowhaio-{name}
```

```python
import lowhaio_{name}
```

Reference: [lowhaio_{name}](../reference/recipes.md#lowhaio_{name}).
"""

TEST = '''\
"""{idea}."""

from __future__ import annotations

import lowhaio_{name}


def test_it_can_be_imported() -> None:
    assert lowhaio_{name}.__doc__
'''

REFERENCE = """\

::: lowhaio_{name}
    options:
      heading_level: 2
"""

ROWS = [
    ('requirements-dev.txt', r'(-e packages/lowhaio-[\w-]+\n)(?=\n)', '-e packages/lowhaio-{name}\n'),
    ('pyproject.toml', r"(    'lowhaio_\w+',\n)(?=\])", "    'lowhaio_{name}',\n"),
    (
        'pyproject.toml',
        r"(    'packages/lowhaio-[\w-]+/src',\n)(?=    'tests')",
        "    'packages/lowhaio-{name}/src',\n",
    ),
    (
        'mkdocs.yml',
        r'(          - [^\n]+: recipes/[^\n]+\n)(?=      - Your own:)',
        '          - {title}: recipes/{name}.md\n',
    ),
    (
        'docs/recipes/index.md',
        r'(\| [^\n]+\[lowhaio-[^\n]+\n)(?=\n)',
        '| {idea} | [lowhaio-{name}]({name}.md) | body | 1 | nothing yet |\n',
    ),
    (
        'README.md',
        r'(\| \[lowhaio-[^\n]+\n)(?=\n)',
        '| [lowhaio-{name}](packages/lowhaio-{name}/README.md) | `lowhaio_{name}` | body | {idea} |\n',
    ),
    ('CHANGELOG.md', r'(## Unreleased\n)', '\n`lowhaio-{name}` is new: {idea}.\n'),
]


def main(name: str, idea: str) -> None:
    """Write the files and the rows, or say what is wrong and write nothing."""
    package = ROOT / 'packages' / f'lowhaio-{name}'
    if not re.fullmatch(r'[a-z][a-z0-9]*', name):
        sys.exit(f'NAME is {name!r}: lower-case letters and digits, as it is the name of a module too')
    core = (ROOT / 'packages' / 'lowhaio-core' / 'pyproject.toml').read_text()
    version = re.findall(r"^version = '(.+)'$", core, re.MULTILINE)[0]
    words = {'name': name, 'idea': idea.rstrip('.'), 'title': name.capitalize(), 'version': version}
    files = {
        package / 'pyproject.toml': PYPROJECT,
        package / 'README.md': README,
        package / 'src' / f'lowhaio_{name}' / '__init__.py': MODULE,
        package / 'src' / f'lowhaio_{name}' / 'py.typed': '',
        ROOT / 'docs' / 'recipes' / f'{name}.md': PAGE,
        ROOT / 'tests' / f'test_{name}.py': TEST,
    }
    for path in files:
        if path.exists():
            sys.exit(f'{path} is there already')
    reference = ROOT / 'docs' / 'reference' / 'recipes.md'
    texts = {reference: reference.read_text() + REFERENCE.format(**words)}
    for file, pattern, row in ROWS:
        path = ROOT / file
        text = texts.get(path) or path.read_text()
        places = [*re.finditer(pattern, text)]
        if not places:
            sys.exit(f'{file} has no place for its row: {pattern}')
        end = places[-1].end() if file != 'CHANGELOG.md' else places[0].end()
        texts[path] = text[:end] + row.format(**words) + text[end:]
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(**words))
    for path, text in texts.items():
        path.write_text(text)


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2])
