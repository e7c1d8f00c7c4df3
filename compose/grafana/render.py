#!/usr/bin/python3
"""Draws the dashboards of panels.py from a running Prometheus into one PNG, for who has no Grafana.

Needs Debian's python3-matplotlib: compose/local/install bench. Exit code 1: Prometheus does not answer, or refuses a
query. Panels of which it has nothing in that time say "no data"; their number is printed.
"""

import argparse
import datetime
import io
import json
import math
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import matplotlib
import matplotlib.dates
import matplotlib.pyplot as plot
import matplotlib.ticker
import PIL.Image

matplotlib.use("Agg")
sys.dont_write_bytecode = True  # nothing appears beside the sources
from panels import DASHBOARDS  # noqa: E402

COLUMNS = 3
POINTS = 200
# Okabe and Ito's colours, told apart by people who see few.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"]
LINES_MAX = len(COLOURS)
LINES_ALL = 4  # so many are always drawn


def query(prometheus, expression, begin, end, step):
    """[(labels, [(time, value)])]"""
    parameters = urllib.parse.urlencode({"query": expression, "start": begin, "end": end, "step": step})
    with urllib.request.urlopen(f"{prometheus}/api/v1/query_range?{parameters}", timeout=10) as answer:
        series = json.load(answer)["data"]["result"]
    return [(s["metric"], [(float(t), float(v)) for t, v in s["values"]]) for s in series]


def legend(name, labels):
    return re.sub(r"{{(\w+)}}", lambda label: labels.get(label[1], ""), name)


def lines_of(panel, ask):
    """[(name, [(time, value)])] of what has any value in that time."""
    lines = []
    for name, expression in panel.queries.items():
        for labels, points in ask(expression):
            points = [(t, v) for t, v in points if math.isfinite(v)]
            if points:
                lines.append((legend(name, labels), points))
    return lines


def shown(lines):
    """Those that fit: of many, the highest ones, and none that is zero all the time beside one that is not."""
    if len(lines) <= LINES_ALL:
        return lines
    highest = sorted(lines, key=lambda line: -max(v for _, v in line[1]))
    return [line for i, line in enumerate(highest) if i == 0 or any(v for _, v in line[1])][:LINES_MAX]


def draw_panel(axes, panel, lines, begin, end):
    axes.set_title(panel.title, fontsize=10, loc="left")
    for (name, points), colour in zip(shown(lines), COLOURS):
        axes.plot([datetime.datetime.fromtimestamp(t) for t, _ in points], [v for _, v in points], label=name,
                  color=colour, linewidth=1.2)
    highest = max((v for _, points in lines for _, v in points), default=0)
    if panel.limit is not None and 0.5 * panel.limit <= highest:
        axes.axhline(panel.limit, color="red", linewidth=0.8, linestyle=":")
    if lines:
        axes.legend(fontsize=6, loc="upper left", framealpha=0.6)
    else:
        axes.text(0.5, 0.5, "no data", ha="center", transform=axes.transAxes)
    axes.set_xlim(datetime.datetime.fromtimestamp(begin), datetime.datetime.fromtimestamp(end))
    axes.set_ylim(0, 1.15 * highest or 1)
    axes.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M:%S"))
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
    axes.yaxis.set_major_formatter({"s": matplotlib.ticker.EngFormatter("s"), "bytes": matplotlib.ticker.EngFormatter("B"),
                                    "percentunit": matplotlib.ticker.PercentFormatter(1)}.get(
                                        panel.unit, matplotlib.ticker.EngFormatter(sep="")))
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)


def draw(rows, begin, end, path, dpi):
    heights = [h for _, panels in rows for h in [0.3] + [2.2] * math.ceil(len(panels) / COLUMNS)]
    gap = 0.45
    figure = plot.figure(figsize=(5.2 * COLUMNS, sum(heights) + gap * len(heights)))
    grid = figure.add_gridspec(len(heights), COLUMNS, height_ratios=heights, left=0.04, right=0.99, wspace=0.15,
                               bottom=0.4 / figure.get_figheight(), top=1 - 0.05 / figure.get_figheight(),
                               hspace=gap * len(heights) / sum(heights))
    y = 0
    for title, panels in rows:
        head = figure.add_subplot(grid[y, :])
        head.axis("off")
        head.text(-0.025, 0, title, fontsize=12, weight="bold", transform=head.transAxes)
        y += 1
        for i, (panel, lines) in enumerate(panels):
            axes = figure.add_subplot(grid[y + i // COLUMNS, i % COLUMNS])
            draw_panel(axes, panel, lines, begin, end)
        y += math.ceil(len(panels) / COLUMNS)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=dpi)
    PIL.Image.open(drawn).convert("RGB").quantize(64).save(path, optimize=True)  # a third of the size


def main():
    names = [dashboard.name for dashboard in DASHBOARDS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("png", help="the file to write")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", help="default: %(default)s")
    parser.add_argument("--dashboard", action="append", choices=names, help="may be repeated; default: all")
    parser.add_argument("--seconds", type=int, default=900, help="how far to look back; default: %(default)s")
    parser.add_argument("--window", default="20s", help="over which rates are taken; default: %(default)s")
    parser.add_argument("--dpi", type=int, default=80, help="default: %(default)s")
    wanted = parser.parse_args()

    end = time.time()
    begin = end - wanted.seconds

    def ask(expression):
        expression = expression.replace("$__rate_interval", wanted.window)
        return query(wanted.prometheus, expression, begin, end, max(1, wanted.seconds / POINTS))

    try:
        rows = [(f"{dashboard.title}: {row.title}", [(panel, lines_of(panel, ask)) for panel in row.panels])
                for dashboard in DASHBOARDS if dashboard.name in (wanted.dashboard or names) for row in dashboard.rows]
    except urllib.error.HTTPError as error:
        sys.exit(f"{wanted.prometheus} refuses a query: {error.read().decode(errors='replace')}")
    except OSError as error:
        sys.exit(f"{wanted.prometheus} does not answer: {error}")
    draw(rows, begin, end, wanted.png, wanted.dpi)
    panels = [lines for _, panels in rows for _, lines in panels]
    print(f"{wanted.png}: {len(panels)} panels, {sum(not lines for lines in panels)} without data")


if __name__ == "__main__":
    main()
