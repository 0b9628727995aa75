"""Fuzz for as long as SECONDS says, with another seed every time; `make fuzz` runs this.

    make fuzz SECONDS=60                        for a minute
    make fuzz ARGS='--seed 1234'                the cases of an earlier run
    make fuzz ARGS='--only sse --only socks5'   a part of it

Half of the time goes to the response path of the core, the rest in equal parts to the other readers. Each begins with
its corpus beside this file, the response path with the vectors of the tests too. Where the client does what it must not
do, the case is written to the corpus, and the program ends with an error. Then the tests fail on it too, until that is
mended. What is checked is told in `tests/support/fuzzing.py` and `tests/support/readers.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from support.fuzzing import MOST_BYTES, Case, Finding, Fuzzer, Player, corpus, player, save
from support.readers import READERS, SUFFIX, Reading
from support.vectors import TOPICS

CORPUS = Path(__file__).parent / 'corpus'
REPORT_SECONDS = 60
RESPONSES = 'responses'
TARGETS = (RESPONSES, *READERS)


async def main(seconds: float, seed: int, targets: Sequence[str]) -> int:
    """Fuzz; the exit status."""
    print(f'{seconds:g} s, --seed {seed}', flush=True)
    others = len(targets) - (RESPONSES in targets)
    for target in targets:
        if target == RESPONSES:
            seeds = corpus(CORPUS)
            for topic in TOPICS.values():
                seeds += [
                    Case(vector.request.split(b' ')[0], vector.response + vector.surplus)
                    for vector in topic
                    if len(vector.response) < MOST_BYTES
                ]
            async with player() as playing:
                fuzzer = Fuzzer(playing, seeds, seed)
                found = await fuzz(target, playing, fuzzer, seconds / 2 if others else seconds)
        else:
            reader = READERS[target]
            reading = Reading(reader)
            seeds = corpus(CORPUS / target, SUFFIX)
            fuzzer = Fuzzer(reading, seeds, seed, methods=reader.ways, tokens=reader.tokens)
            share = seconds / 2 if RESPONSES in targets else seconds
            found = await fuzz(target, reading, fuzzer, share / others)
        if found is not None:
            folder, suffix = (CORPUS, '.http') if target == RESPONSES else (CORPUS / target, SUFFIX)
            print(f'{found}\n{fuzzer.case}\nwritten to {save(fuzzer.case, folder, suffix)}')
            return 1
    print('nothing found')
    return 0


async def fuzz(target: str, playing: Player | Reading, fuzzer: Fuzzer, seconds: float) -> Finding | None:
    """Check the cases of a fuzzer, and then those that it makes of them; what is found, if anything is."""
    begin = reported = time.monotonic()
    seeds = list(fuzzer.cases)

    def report() -> None:
        kept, lines = len(fuzzer.cases) - len(seeds), len(playing.tracer.edges)
        megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            f'{target}, {time.monotonic() - begin:.0f} s: {len(seeds)} seeds, {playing.executions} executions, '
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
        return finding
    report()
    return None


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=600)
    parser.add_argument('--seed', type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument('--only', action='append', choices=TARGETS, help='one target, and others if it is there again')
    arguments = parser.parse_args()
    sys.exit(asyncio.run(main(arguments.seconds, arguments.seed, arguments.only or TARGETS)))
