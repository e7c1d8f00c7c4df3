#!/usr/bin/python3
"""Makes a report of a run of the bench kit: one HTML file that needs nothing but itself, and a PNG of each plot.

    bench/report/report.py bench/results/20261125T005310Z-stack-kit.json [--out FOLDER]

Without --out: a folder beside the JSON, of the same name. Needs Debian's python3-matplotlib.
"""

import argparse
import json
import pathlib
import sys

sys.dont_write_bytecode = True
import page
import plots
from page import Html

TITLES = {"rest": "REST, closed loop", "grpc": "gRPC, without the gateway", "open": "Open model", "growth": "Growth",
          "scenarios": "Scenarios"}
WORDS = {"ratios": "How near to the limit", "throughput": "Throughput against connections", "latency": "Latency percentiles",
         "open-model": "Latency at a constant rate", "lag": "Accepted to row", "machine": "CPU and memory", "growth": "Growth"}
OUTCOMES = {"accepted": "accepted", "sold_out": "sold out", "duplicate": "duplicate", "error": "error"}


def number(value, digits=3):
    """A number as short as it says the same."""
    if value is None:
        return "–"
    # 999.9 has more digits before the point than are wanted, and would become 1e+03.
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"


def facts(result):
    around = result["machine"]
    rows = [("machine", f"{around['cpu']}, {around['cores']} cores, {around['memory_gib']} GiB, Linux {around['kernel']}"),
            ("commit", result["commit"]), ("backend", result["backend"]), ("command", Html(f"<code>{page.escape(result['command'])}</code>")),
            ("when", result["when"]),
            ("how", f"{result['rounds']} rounds of {result['seconds']:g} s a leg, {result['warm_up_seconds']:g} s of warm-up left out, "
                    f"and {result['first_warm_up_seconds']} s after each start; "
                    f"load client on the same cores; load average before it {result['load_average']:.2f}"),
            ("stock", f"{result['stock']:,}: every claim is accepted, unless the figure is of refusals")]
    for part, content in result["parts"].items():
        rows.append((f"ledger, {part}", f"NOT CLEAN, or it broke off: {content['failed'].splitlines()[0]}" if content.get("failed") else
                     "clean: " + ", ".join(f"{content[key]:,} {key}" for key in ("accepted", "rows", "reads", "views") if key in content)))
    return page.table([], rows, "facts")


def verdicts(result):
    if not result["verdicts"]:
        return Html("<p>This run has measured nothing that was promised.</p>\n")
    return page.table(["what", "part", "value", "rule", ""],
                      [(v["what"], v["part"], number(v["value"]), v["rule"], page.verdict(v["ok"])) for v in result["verdicts"]])


def figure_rows(figures):
    """A row for each figure and outcome, so that no percentile mixes answers of different cost."""
    rows = []
    for f in figures:
        at = f"{f['rate']}/s" if f.get("rate") else f"stock {f['stock']:,}" if f.get("stock") else f"c={f['connections']}"
        for outcome, latency in f["outcomes"].items():
            wanted = outcome == f["outcome"]
            ratio = f.get("ratio", {})
            rate = f["per_second"] if wanted else None
            rows.append((f"{plots.name_of(f)}, {at}", OUTCOMES[outcome], f"{latency['measured']:,}",
                         spread(rate) if rate else "",
                         times(ratio.get("per_second")) if wanted else "",
                         *(spread(latency[key]) for key, _ in plots.PERCENTILES), times(ratio.get("p50_ms")) if wanted else ""))
    return rows


def spread(value):
    return Html(f"{number(value['median'])}<br><span class=small>{number(value['min'])}–{number(value['max'])}</span>")


def times(ratio):
    return "" if not ratio else f"{ratio['median']:.2f}×"


def part_section(part, content):
    if content.get("failed"):
        return Html(f"<p class=no>No figures:</p>\n<pre>{page.escape(content['failed'])}</pre>\n")
    body = f"<p class=small>Load client: {page.escape(content.get('generator', ''))}.</p>\n"
    figures = [f for f in content.get("figures", []) if f["kind"] != "grown"]
    if figures:
        body += page.table(["", "answer", "measured", "/s", "of limit", *(f"{name} ms" for _, name in plots.PERCENTILES),
                            "p50 of limit"], figure_rows(figures))
        names = [p for p in plots.PROCESSES if any(p in f.get("usage", {}) for f in figures)]
        body += "<p class=small>CPU in cores (median) and RSS in MiB (most) of each process:</p>\n"
        body += page.table(["", *names], [(figure_name(f), *(used(f["usage"].get(p)) for p in names)) for f in figures])
    lagging = [f for f in figures if "lag" in f]
    if lagging:
        body += "<p class=small>Accepted to row, upper bounds of the server's buckets, in ms:</p>\n"
        body += page.table(["", "claims", "p50 ≤", "p95 ≤", "p99 ≤", "p99.9 ≤"], [
            (figure_name(f), f"{f['lag']['claims']:,}", *(number(f["lag"][f"p{q}_ms_at_most"]) for q in ("50", "95", "99", "99_9")))
            for f in lagging])
    summaries = content.get("summaries", {})
    if summaries:
        body += page.table(["", "answer", "count", "/s", "avg ms", "p50", "p95", "p99", "p99.9", "max"], summary_rows(summaries))
    usage = content.get("usage", {})
    if usage:
        names = [p for p in plots.PROCESSES if any(p in processes for processes in usage.values())]
        body += page.table(["CPU in cores / RSS in MiB", *names], [
            (name, *(f"{processes[p]['cpu_cores']:.2f} / {processes[p]['rss_peak_mib']:.0f}" if p in processes else "" for p in names))
            for name, processes in usage.items()])
    return Html(body)


def figure_name(f):
    at = f"{f['rate']}/s" if f.get("rate") else f"stock {f['stock']:,}" if f.get("stock") else f"c={f['connections']}"
    return f"{plots.name_of(f)}, {at}"


def used(usage):
    if usage is None:
        return ""
    rss = f" / {usage['rss_peak_mib']:.0f}" if usage.get("rss_peak_mib") else ""
    return f"{usage['cpu_cores']['median']:.2f}{rss}"


def summary_rows(summaries):
    rows = []
    for name, summary in summaries.items():
        for outcome, label in OUTCOMES.items():
            f = summary.get("outcomes", {}).get(outcome, {})
            if f.get("count"):
                rows.append((name, label, f"{f['count']:,}", number(f["count"] / summary["seconds"]),
                             *(number(f[key]) for key in ("avg_ms", "p50_ms", "p95_ms", "p99_ms", "p99_9_ms", "max_ms"))))
    return rows


def render(result, drawings):
    """The whole page. `drawings`: {name of a plot: its SVG}."""
    missed = sum(not v["ok"] for v in result["verdicts"])
    body = facts(result)
    body += f"<h2>Thresholds: {len(result['verdicts']) - missed} reached, {missed} missed</h2>\n" + verdicts(result)
    for name, svg in drawings.items():
        body += f"<h2>{WORDS[name]}</h2>\n" + page.picture(svg, WORDS[name])
    for part, content in result["parts"].items():
        body += f"<h2>{TITLES[part]}</h2>\n" + part_section(part, content)
    body += ("<p class=small>Medians and extremes are over the rounds; a ratio is that of two legs of one round, run one after the other. "
             "Absolute figures say what such a machine has been seen to do; across machines and days only ratios compare.</p>\n")
    return page.page(f"Bench: {result['backend']}, commit {result['commit']}", Html(body))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    result = json.loads(options.result.read_text())
    if result.get("benchmark") != "kit":
        sys.exit(f"{options.result} is not of `bench/run.py kit`")
    try:
        drawings = plots.draw(result)
    except ImportError:
        sys.exit("there is no matplotlib; `compose/local/install bench` installs it for /usr/bin/python3")
    out = options.out or options.result.with_suffix("")
    out.mkdir(parents=True, exist_ok=True)
    for name, (_, png) in drawings.items():
        (out / f"{name}.png").write_bytes(png)
    report = out / "report.html"
    report.write_text(render(result, {name: svg for name, (svg, _) in drawings.items()}))
    print(f"report: {report}, and {len(drawings)} PNGs beside it")


if __name__ == "__main__":
    main()
