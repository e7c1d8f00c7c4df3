#!/usr/bin/python3
"""Draws an overload, with admission control and without, as one SVG and one PNG.

    bench/report/overload.py bench/results/20261125T005310Z-overload.json [--out FOLDER]

Without --out: a folder beside the JSON, of the same name. Needs Debian's python3-matplotlib.
"""

import argparse
import json
import pathlib
import sys

sys.dont_write_bytecode = True
import plots

PROMISED, REFUSED, LATE, DUE = "#0072b2", "#e69f00", "#d55e00", "#999999"


def answers(report):
    """[(name, colour, [answers a second])]: promises by when they were answered, the rest by when they were due."""
    seconds = report["seconds"]
    return [("asked for", DUE, [s["offered"] for s in seconds]),
            ("refused (CM503)", REFUSED, [s["shed"] for s in seconds]),
            ("too late, or outcome unknown (CM504)", LATE, [s["other"] for s in seconds]),
            ("promised (QUEUED)", PROMISED, [s["promised"] for s in seconds])]


def latencies(report):
    """[(name, colour, line style, [ms of each second, None where there is none])], from when a request was due."""
    kinds = (("accepted", "accepted", PROMISED), ("refused", "shed", REFUSED))
    return [(f"{name}, {quantile}", colour, style,
             [s[f"{key}_{quantile}_ms"] if s[key] else None for s in report["seconds"]])
            for name, key, colour in kinds for quantile, style in (("p50", "-"), ("p95", ":"))]


def summary(report):
    return (f"goodput {100 * report['goodput_share']:.0f} % of {report['capacity_per_second']}/s; refused p50 {report['shed_p50_ms']:.1f} ms; "
            f"normal after {report['recovery_ms'] / 1000:.1f} s")


def plot(result):
    figure, axes = plots.new_axes(f"Overload: {result['with']['overload_per_second']:,} claims a second, "
                                  f"of which the gate takes {result['with']['capacity_per_second']}", columns=2, rows=2, height=6.4)
    for (rates, waits), key, title in zip(zip(*axes), ("with", "without"), ("with admission control", "queues bounded by their length only")):
        report = result[key]
        for name, colour, values in answers(report):
            rates.step(range(len(values)), values, where="post", label=name, color=colour, linewidth=1.5)
        rates.axhline(report["capacity_per_second"], color="#000000", linestyle="--", linewidth=1, label="capacity of the gate")
        rates.set_title(f"{title}\n{summary(report)}", fontsize=8.5)
        rates.set_yscale("symlog", linthresh=100)
        rates.set_ylim(0, 5000)
        for name, colour, style, values in latencies(report):
            waits.plot([i + 0.5 for i in range(len(values))], [float("nan") if v is None else v for v in values], label=name,
                       color=colour, linestyle=style, linewidth=1.5, marker="o", markersize=2.5)
        waits.set_yscale("log")
        waits.set_ylim(0.3, 5000)
        waits.set_xlabel("s")
        for each in (rates, waits):
            each.axvspan(report["overload_from_second"], report["overload_to_second"], color="#f3f3f3", zorder=0)
            each.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes[0][0].set_ylabel("requests/s (log)")
    axes[1][0].set_ylabel("ms from when it was due (log)")
    for row, y in ((axes[0], 0), (axes[1], -0.06)):
        figure.legend(*row[0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, y), ncols=5, fontsize=8)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    result = json.loads(options.result.read_text())
    if result.get("benchmark") != "overload":
        sys.exit(f"{options.result} is not of `bench/run.py overload`")
    out = options.out or options.result.with_suffix("")
    out.mkdir(parents=True, exist_ok=True)
    figure = plot(result)
    for format in ("svg", "png"):
        (out / f"overload.{format}").write_bytes(plots.drawn(figure, format))
    print(f"written: {out}/overload.svg and overload.png")


if __name__ == "__main__":
    main()
