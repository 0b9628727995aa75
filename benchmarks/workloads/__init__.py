"""What is asked for, of what server. Every file beside this one defines `WORKLOADS`."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

MEGABYTE = 1_000_000


def nothing(folder: Path, megabytes: int) -> None:
    """The files of a workload that needs none."""


class Workload(NamedTuple):
    name: str
    title: str
    operation: str
    """`get`, `post`, `download` or `upload`, as in `job.Operations`, or `import`."""
    path: str
    unit: str = 'requests'
    """What the rate counts: `requests`, `bytes`, `events` or `imports`."""
    tls: bool = False
    connections: int = 1
    reuse: bool = True
    location: Callable[[int], str] = lambda megabytes: ''
    """The part of nginx's configuration that answers, given the megabytes of a large body."""
    prepare: Callable[[Path, int], None] = nothing
    """Makes the files it serves, given the folder and the megabytes of a large body."""
    body_bytes: Callable[[int], int] = lambda megabytes: 0
    """The length of the body of the response, decoded, given the megabytes of a large body."""
    upload_bytes: Callable[[int], int] = lambda megabytes: 0
    event_bytes: int = 0
    """The length of an event, where these are counted."""


def load_workloads() -> dict[str, Workload]:
    """Every workload by its name, in the order of the files and of the entries in them."""
    workloads: dict[str, Workload] = {}
    for file in sorted(Path(__file__).parent.glob('[a-z]*.py')):
        module = importlib.import_module(f'workloads.{file.stem}')
        workloads.update((workload.name, workload) for workload in module.WORKLOADS)
    return workloads
