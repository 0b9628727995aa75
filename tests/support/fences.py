"""The fences of the Markdown files, and how their Python is run.

`fences_of(page)` finds them. `run(fences, runner, names)` runs the Python ones of one page in order, in one
namespace, as they stand, and tells what each has printed and raised. The `text` fence that follows a Python one is its
`output`.

A fence that awaits at its top level, as one may in `python -m asyncio`, is run in the loop; all others are run where
there is no running loop, so that one may start its own.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import re
import textwrap
import types
from collections.abc import Iterable
from dataclasses import dataclass
from inspect import CO_COROUTINE
from pathlib import Path

LANGUAGES = {'python', 'text', 'shell'}
"""The languages that a fence can have. Only `python` is run; with no other name can it get around that."""

_FENCE = re.compile(
    r'^(?P<indent> *)(?P<mark>```+|~~~+)(?P<language>.*)\n(?P<code>(?:.*\n)*?)(?P=indent)(?P=mark) *$', re.MULTILINE
)


@dataclass(frozen=True)
class Fence:
    """One fence.

    place: the file and the line of its first mark, `docs/index.md:12`.
    output: what the `text` fence after it holds, only blank lines being between them; None where there is none.
    """

    place: str
    language: str
    code: str
    output: str | None


def fences_of(page: Path, root: Path) -> list[Fence]:
    """All fences of a Markdown file."""
    text = page.read_text()
    found: list[Fence] = []
    after = len(text)
    output = None
    for match in reversed([*_FENCE.finditer(text)]):
        adjacent = not text[match.end() : after].strip()
        line = text.count('\n', 0, match.start()) + 1
        code = textwrap.dedent(match['code'])
        language = match['language'].strip()
        found.append(Fence(f'{page.relative_to(root)}:{line}', language, code, output if adjacent else None))
        after = match.start()
        output = code if language == 'text' else None
    return found[::-1]


@dataclass(frozen=True)
class Outcome:
    """What a fence has printed, and what it has raised."""

    printed: str
    failure: Exception | None


def run(fences: Iterable[Fence], runner: asyncio.Runner, names: dict[str, object]) -> dict[str, Outcome]:
    """Run the Python fences of one page; what became of each, by its place."""
    namespace = {'__name__': '__main__', **names}
    return {fence.place: _run(fence, namespace, runner) for fence in fences if fence.language == 'python'}


def _run(fence: Fence, namespace: dict[str, object], runner: asyncio.Runner) -> Outcome:
    page, line = fence.place.rsplit(':', 1)
    source = '\n' * int(line) + fence.code  # so that a traceback names the line of the page
    failure = None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            code = compile(source, page, 'exec', ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            if code.co_flags & CO_COROUTINE:
                runner.run(types.FunctionType(code, namespace)())
            else:
                exec(code, namespace)
        except Exception as error:
            failure = error
    return Outcome(printed.getvalue(), failure)
