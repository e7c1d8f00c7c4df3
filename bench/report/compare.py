#!/usr/bin/python3
"""Compares two runs of the bench kit: what B reached as a ratio to A, in the terminal, as HTML and as a PNG.

    bench/report/compare.py A.json B.json [--out FOLDER]

Compare runs of one machine, one after the other. The ratio of the two ratios to the limit is what also holds
when the machine was not the same, or not as quiet.
"""

import argparse
import json
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(1, str(pathlib.Path(__file__).resolve().parent.parent))
import figures
import page
import plots
from page import Html


def cell(value):
    return "–" if value is None else f"{value:.3g}"


COLUMNS = [("answers/s", "per_second"), ("p50", "p50_ms"), ("p99", "p99_ms"), ("of limit, A", "ratio_before"),
           ("of limit, B", "ratio_after"), ("B's to A's", "of_ratios")]


def text(rows):
    lines = [f"{'B / A':44}" + "".join(f"{name:>13}" for name, _ in COLUMNS)]
    lines += [f"{row['part'] + ': ' + row['what']:44}" + "".join(f"{cell(row[key]):>13}" for _, key in COLUMNS) for row in rows]
    return "\n".join(lines)


def told(result):
    return f"commit {result['commit']}, {result['backend']}, {result['when']}"


def warnings(before, after):
    """Why the absolute columns may mislead."""
    found = [f"the two differ in {what}: {a} and {b}" for what, a, b in (
        ("machine", before["machine"], after["machine"]), ("backend", before["backend"], after["backend"]),
        ("length of a leg", before["seconds"], after["seconds"]), ("rounds", before["rounds"], after["rounds"])) if a != b]
    return found


def render(before, after, rows, svg):
    body = page.table([], [(name, f"{told(result)}; {result['command']}") for name, result in (("A", before), ("B", after))], "facts")
    body += "".join(f"<p class=no>{page.escape(warning)}</p>\n" for warning in warnings(before, after))
    if svg is not None:
        body += page.picture(svg, "Before and after, as ratios to the limit")
    body += "<h2>B as a ratio to A</h2>\n<p class=small>More is better for answers a second and for ratios to the limit, less for latencies.</p>\n"
    body += page.table(["", *(name for name, _ in COLUMNS)],
                       [(f"{row['part']}: {row['what']}", *(cell(row[key]) for _, key in COLUMNS)) for row in rows])
    return page.page("Bench: before and after", Html(body))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=pathlib.Path)
    parser.add_argument("b", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, help="default: a folder beside B, named after both")
    options = parser.parse_args()
    before, after = json.loads(options.a.read_text()), json.loads(options.b.read_text())
    for path, result in ((options.a, before), (options.b, after)):
        if result.get("benchmark") != "kit":
            sys.exit(f"{path} is not of `bench/run.py kit`")
    rows = figures.compare(before, after)
    if not rows:
        sys.exit("the two have no figure in common")
    print(f"A: {told(before)}\nB: {told(after)}")
    for warning in warnings(before, after):
        print(f"beware: {warning}")
    print(text(rows))
    out = options.out or options.b.parent / f"{options.b.stem}-against-{options.a.stem}"
    out.mkdir(parents=True, exist_ok=True)
    svg = None
    try:
        figure = plots.plot_comparison(rows, before["commit"], after["commit"])
        if figure is not None:
            svg = plots.drawn(figure, "svg")
            (out / "comparison.png").write_bytes(plots.drawn(figure, "png"))
    except ImportError:
        print("there is no matplotlib, so no plot; `compose/local/install bench` installs it", file=sys.stderr)
    (out / "comparison.html").write_text(render(before, after, rows, svg))
    print(f"written: {out}/comparison.html" + ("" if svg is None else " and comparison.png"))


if __name__ == "__main__":
    main()
