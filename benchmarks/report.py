"""From measurements to a report: medians, spreads, ratios, and how they compare with what is claimed.

`run.py` writes one at its end. Of a measurement that was made in parts, each with a folder of its own:

    python benchmarks/report.py --out benchmarks/results PART/results.json OTHER_PART/results.json
"""

import argparse
import json
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from environments import python_of
from workloads import Workload, load_workloads


class Row(NamedTuple):
    """One client under one workload and one loop, over all rounds."""

    client: str
    loop: str
    problem: str = ''
    """Why there are no figures: a failure, or what the client does not offer."""
    rates: tuple[float, ...] = ()
    """Of each round: requests, bytes or imports per second."""
    cpu: float = 0
    """The median processor time, in seconds for each request, byte or import."""
    cpu_user: float = 0
    """The part of it outside the kernel."""
    peak_bytes: float = 0
    connections: float = 0
    """The median number of connections after the warm-up and before the first measured request."""
    idle_bytes: float = 0
    """The median memory for each of them, with the pool and all else that the client needs."""

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


def units(workload: Workload, megabytes: int) -> int:
    """How much one exchange counts."""
    if workload.unit == 'events':
        return workload.body_bytes(megabytes) // workload.event_bytes
    if workload.unit != 'bytes':
        return 1
    return workload.upload_bytes(megabytes) or workload.body_bytes(megabytes)


def summarize(results: dict[str, Any], workload: Workload) -> list[Row]:
    """A row for each client and loop that was measured: the fastest first, those without figures last."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for measurement in results['measurements']:
        if measurement['workload'] == workload.name:
            groups.setdefault((measurement['client'], measurement['loop']), []).append(measurement)
    size = units(workload, results['megabytes'])
    rows = []
    for (client, loop), group in groups.items():
        failures = [measurement['failed'] for measurement in group if 'failed' in measurement]
        missing = [measurement['not_offered'] for measurement in group if 'not_offered' in measurement]
        if failures:
            rows.append(Row(client, loop, f'failed in {len(failures)} of {len(group)} rounds: {failures[0]}'))
        elif missing:
            rows.append(Row(client, loop, f'not offered: {missing[0]}'))
        else:
            rows.append(
                Row(
                    client,
                    loop,
                    rates=tuple(sorted(one['count'] * size / one['seconds'] for one in group)),
                    cpu=statistics.median((one['cpu_user'] + one['cpu_sys']) / one['count'] / size for one in group),
                    cpu_user=statistics.median(one['cpu_user'] / one['count'] / size for one in group),
                    peak_bytes=statistics.median(one['peak_rss'] for one in group),
                    connections=statistics.median(one['idle_connections'] for one in group),
                    idle_bytes=statistics.median(one['idle_bytes'] / max(one['idle_connections'], 1) for one in group),
                )
            )
    return sorted(rows, key=lambda row: -row.rate if row.rates else 1)


class Claim(NamedTuple):
    """`needed` times `theirs` is the least (with `at_most`, the most) that `ours` may be.

    Both are (client, workload, loop).
    """

    title: str
    figure: str
    needed: float
    ours: tuple[str, str, str]
    theirs: tuple[str, str, str]
    at_most: bool = False


def claims() -> Iterator[Claim]:
    def ours(workload: str, loop: str = 'asyncio') -> tuple[str, str, str]:
        return 'lowhaio', workload, loop

    theirs = ('floor_interface', 'get_32', 'asyncio')
    yield Claim('get_32: × the floor of the interface', 'rate', 0.6, ours('get_32'), theirs)
    for workload, loop, needed in (
        ('headers_32', 'asyncio', 1.3),
        ('get_32_tls', 'asyncio', 1.4),
        ('get_32', 'uvloop', 1),
        ('get_32_tls', 'uvloop', 1),
    ):
        theirs = ('pyreqwest', workload, loop)
        yield Claim(f'{workload} on {loop}: × pyreqwest', 'rate', needed, ours(workload, loop), theirs)
    for few, many in (('get_32', 'get_256'), ('get_32_tls', 'get_256_tls')):
        yield Claim(f'{many}: × its own {few}', 'rate', 0.8, ours(many), ours(few))
    for workload in ('download', 'download_tls', 'upload', 'upload_tls'):
        theirs = ('floor_blocking', workload, 'asyncio')
        yield Claim(f'{workload}: × the floor', 'rate', 0.9, ours(workload), theirs)
        title = f'{workload}: processor time for each byte, × the least of any peer'
        yield Claim(title, 'cpu', 1.15, ours(workload), ('best peer', workload, 'asyncio'), at_most=True)
    yield Claim('chunked_8192: × its own download', 'rate', 0.9, ours('chunked_8192'), ours('download'))
    for workload in ('handshake_1', 'handshake_32'):
        theirs = ('aiohttp', workload, 'asyncio')
        yield Claim(f'{workload}: processor time, × aiohttp', 'cpu', 1 / 1.5, ours(workload), theirs, at_most=True)
    theirs = ('aiohttp', 'get_2000', 'asyncio')
    title = 'get_2000: memory for each idle connection, × aiohttp'
    yield Claim(title, 'idle_bytes', 1 / 3, ours('get_2000'), theirs, at_most=True)
    title = 'get_2000: processor time for each request, × get_1'
    yield Claim(title, 'cpu', 1.3, ours('get_2000'), ours('get_1'), at_most=True)
    for workload in ('get_32', 'get_32_tls', 'get_256', 'get_256_tls'):
        for client, needed in (('httpx2', 5), ('httpx2_aiohttp', 1.3), ('httpx_pyreqwest', 1), ('floor_httpx2', 0.75)):
            bridge, theirs = ('httpx2_lowhaio', workload, 'asyncio'), (client, workload, 'asyncio')
            yield Claim(f'{workload}, under httpx2: × {client}', 'rate', needed, bridge, theirs)


def is_peer(row: Row) -> bool:
    return row.client != 'lowhaio' and not row.client.startswith('floor_')


def figures(rows: dict[str, list[Row]], where: tuple[str, str, str], name: str) -> list[float]:
    """The figure of each row that a claim names, the best first; empty where no client has one."""
    client, workload, loop = where
    found = [
        getattr(row, name)
        for row in rows.get(workload, [])
        if row.rates and row.loop == loop and (is_peer(row) if client == 'best peer' else row.client == client)
    ]
    return sorted(found, reverse=name == 'rate')


def claims_table(rows: dict[str, list[Row]]) -> list[str]:
    lines = []
    for claim in claims():
        ours, theirs = figures(rows, claim.ours, claim.figure), figures(rows, claim.theirs, claim.figure)
        if not ours or not theirs:
            continue
        reached = ours[0] / theirs[0]
        met = reached <= claim.needed if claim.at_most else reached >= claim.needed
        bound = f'at {"most" if claim.at_most else "least"} {claim.needed:.2f}'
        cells = [claim.title, bound, f'{reached:.2f}', 'yes' if met else '**no**']
        if claim.figure == 'rate':
            cells.append(f'{figures(rows, claim.theirs, "cpu")[0] / figures(rows, claim.ours, "cpu")[0]:.2f}')
        lines.append(f'| {" | ".join(cells)} |')
    head = ['| figure | aimed at | reached | met | by processor time |', '|---|---|---|---|---|']
    return [*head, *lines, ''] if lines else []


def loop_of(row: Row) -> str:
    """What the client runs on, which is no event loop of asyncio for all."""
    code = (Path(__file__).parent / 'clients' / f'{row.client}.py').read_text()
    return 'threads' if 'def thread_client' in code else 'its own' if 'def multi_client' in code else row.loop


def workload_table(workload: Workload, rows: list[Row]) -> list[str]:
    scale, rate_title, cpu_scale, cpu_title = {
        'requests': (1, 'requests/s', 1e6, 'µs'),
        'bytes': (1e-6, 'MB/s', 1e9, 's/GB'),
        'events': (1, 'events/s', 1e6, 'µs'),
        'imports': (1, 'imports/s', 1e3, 'ms'),
    }[workload.unit]
    memory = workload.connections >= 1000
    titles = ['client', 'loop', rate_title, 'least – most', '× lowhaio', f'processor time, {cpu_title}']
    titles += ['outside the kernel', 'peak MB']
    titles += ['connections', 'KB for each'] * memory
    own = {row.loop: row.rate for row in rows if row.client == 'lowhaio' and row.rates}
    lines = [f'## {workload.title} (`{workload.name}`)', '', f'| {" | ".join(titles)} |', f'|{"---|" * len(titles)}']
    for row in rows:
        if not row.rates:
            lines.append(
                f'| {row.client} | {loop_of(row)} | {row.problem.replace("|", "/")} |{" |" * (len(titles) - 3)}'
            )
            continue
        cells = [
            row.client,
            loop_of(row),
            f'{row.rate * scale:,.0f}',
            f'{row.rates[0] * scale:,.0f} – {row.rates[-1] * scale:,.0f}',
            f'{row.rate / own[row.loop]:.2f}' if row.loop in own else '',
            f'{row.cpu * cpu_scale:.3g}',
            f'{row.cpu_user * cpu_scale:.3g}',
            f'{row.peak_bytes / 1e6:.0f}',
        ]
        if memory:
            cells += [f'{row.connections:.0f}', f'{row.idle_bytes / 1e3:.1f}']
        lines.append(f'| {" | ".join(cells)} |')
    return [*lines, '']


def markdown(results: dict[str, Any], rows: dict[str, list[Row]], workloads: dict[str, Workload]) -> str:
    machine = results['machine']
    lines = [
        '# Measurements',
        '',
        f'{results["date"]}. {machine["processor"]}, {machine["cores"]} cores (client on core',
        f'{machine["client_core"]}, server on core {machine["server_core"]}; idle cores {machine["idle_cores"]}),',
        f'Linux {machine["kernel"]},',
        f'Python {machine["python"]}, {machine["openssl"]}, {machine["nginx"]}.',
        f'Medians of {results["rounds"]} rounds of at least {results["seconds"]:g} seconds;',
        f'large bodies of {results["megabytes"]} MB.',
        '',
        *(f'- {name}: {", ".join(pins) or "the standard library"}' for name, pins in results['requirements'].items()),
        '',
    ]
    for name, some in rows.items():
        lines += workload_table(workloads[name], some)
    return '\n'.join(lines)


def write(results: dict[str, Any], folder: Path) -> None:
    """Writes `results.json`, `results.md`, `claims.txt` and a chart for each workload into the folder."""
    workloads = load_workloads()
    names = dict.fromkeys(measurement['workload'] for measurement in results['measurements'])
    rows = {name: summarize(results, workloads[name]) for name in names}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'results.json').write_text(json.dumps(results, indent=1))
    (folder / 'results.md').write_text(markdown(results, rows, workloads))
    (folder / 'claims.txt').write_text('\n'.join(claims_table(rows)))
    charts = [
        {
            'file': str(folder / f'{name}.svg'),
            'title': workloads[name].title,
            'unit': 'MB/s' if workloads[name].unit == 'bytes' else f'{workloads[name].unit}/s',
            'bars': [
                {
                    'label': row.client + (f' ({row.loop})' if row.loop != 'asyncio' else ''),
                    'rates': [rate / (1e6 if workloads[name].unit == 'bytes' else 1) for rate in row.rates],
                    'kind': 'peer' if is_peer(row) else row.client.partition('_')[0],
                }
                for row in some
                if row.rates
            ],
        }
        for name, some in rows.items()
    ]
    charts_file = Path(__file__).with_name('charts.py')
    python = python_of(charts_file.with_suffix('.txt'))
    subprocess.run([python, charts_file], input=json.dumps(charts), text=True, check=True)


def merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One result of several, of one machine and bodies of one size; of all else the least is told."""
    alike = {json.dumps([part['machine'], part['megabytes']]) for part in parts}
    if len(alike) > 1:
        raise ValueError(f'these can not be compared: {alike}')
    least = {key: min(part[key] for part in parts) for key in ('date', 'rounds', 'seconds')}
    requirements: dict[str, list[str]] = {}
    for part in parts:
        requirements |= part['requirements']
    measurements = [measurement for part in parts for measurement in part['measurements']]
    return parts[0] | least | {'requirements': requirements, 'measurements': measurements}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('parts', nargs='+', type=Path, metavar='RESULTS.JSON')
    parser.add_argument('--out', type=Path, required=True, help='the folder for the report')
    arguments = parser.parse_args()
    write(merged([json.loads(part.read_text()) for part in arguments.parts]), arguments.out)


if __name__ == '__main__':
    main()
