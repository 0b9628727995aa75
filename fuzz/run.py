"""Fuzz for as long as SECONDS says, with another seed every time; `make fuzz` runs this.

    make fuzz SECONDS=60              for a minute
    make fuzz ARGS='--seed 1234'      the cases of an earlier run

It begins with the corpus beside this file and the vectors of the tests. Where the client does what it must not do, the
case is written to the corpus, and the program ends with an error. Then the tests fail on it too, until that is mended.
What is checked is told in `tests/support/fuzzing.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import time
from pathlib import Path

from support.fuzzing import MOST_BYTES, Case, Finding, Fuzzer, corpus, player, save
from support.vectors import TOPICS

CORPUS = Path(__file__).parent / 'corpus'
REPORT_SECONDS = 60


async def main(seconds: float, seed: int) -> int:
    """Fuzz; the exit status."""
    seeds = corpus(CORPUS)
    for topic in TOPICS.values():
        seeds += [
            Case(vector.request.split(b' ')[0], vector.response + vector.surplus)
            for vector in topic
            if len(vector.response) < MOST_BYTES
        ]
    print(f'{len(seeds)} seeds, {seconds:g} s, --seed {seed}', flush=True)
    begin = time.monotonic()
    async with player() as playing:
        fuzzer = Fuzzer(playing, seeds, seed)
        reported = begin

        def report() -> None:
            kept, lines = len(fuzzer.cases) - len(seeds), len(playing.tracer.edges)
            megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(
                f'{time.monotonic() - begin:.0f} s: {playing.executions} executions, '
                f'{lines} steps from line to line, {kept} new cases that reached one, {megabytes} MB at most',
                flush=True,
            )

        try:
            for case in seeds:
                fuzzer.case = case
                await playing.check(case)
            while (now := time.monotonic()) - begin < seconds:
                await fuzzer.step()
                if now - reported >= REPORT_SECONDS:
                    reported = now
                    report()
        except Finding as finding:
            report()
            print(f'{finding}\n{fuzzer.case}\nwritten to {save(fuzzer.case, CORPUS)}')
            return 1
        report()
    print('nothing found')
    return 0


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=600)
    parser.add_argument('--seed', type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments = parser.parse_args()
    sys.exit(asyncio.run(main(arguments.seconds, arguments.seed)))
