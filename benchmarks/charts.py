"""Draws bar charts as SVG from the description on standard input. `report.py` runs it in an environment of its own."""

import json
import statistics
import sys
from typing import Any

from matplotlib import pyplot

COLOURS = {'lowhaio': '#e8590c', 'peer': '#4c78a8', 'floor': '#b0b0b0'}
READABLE_ON_DARK_AND_LIGHT = '#808080'


def draw(chart: dict[str, Any]) -> None:
    bars = chart['bars'][::-1]
    medians = [statistics.median(bar['rates']) for bar in bars]
    spreads = [
        [median - min(bar['rates']) for median, bar in zip(medians, bars, strict=True)],
        [max(bar['rates']) - median for median, bar in zip(medians, bars, strict=True)],
    ]
    figure, axes = pyplot.subplots(figsize=(8, 0.9 + 0.36 * len(bars)), layout='constrained')
    drawn = axes.barh(
        [bar['label'] for bar in bars],
        medians,
        xerr=spreads,
        color=[COLOURS[bar['kind']] for bar in bars],
        ecolor=READABLE_ON_DARK_AND_LIGHT,
    )
    axes.bar_label(drawn, labels=[f'{median:,.0f}' for median in medians], padding=6)
    axes.set_title(f'{chart["title"]}: {chart["unit"]}', loc='left', fontsize='medium')
    axes.margins(x=0.15)
    axes.xaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False)
    figure.savefig(chart['file'], transparent=True, metadata={'Date': None})
    pyplot.close(figure)


def main() -> None:
    colour = READABLE_ON_DARK_AND_LIGHT
    pyplot.rcParams.update({'svg.fonttype': 'none', 'svg.hashsalt': 'benchmarks', 'font.family': 'sans-serif'})
    pyplot.rcParams.update({'text.color': colour, 'axes.labelcolor': colour, 'ytick.color': colour})
    for chart in json.load(sys.stdin):
        if chart['bars']:
            draw(chart)


if __name__ == '__main__':
    main()
