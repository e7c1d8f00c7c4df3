"""Draws a run with matplotlib, Debian's python3-matplotlib. What is drawn is worked out by functions that need
no matplotlib."""

import io

# Okabe and Ito's colours, told apart by people who see few.
COLOURS = {"fixed": "#000000", "get-product": "#0072b2", "issue-coupon": "#d55e00", "sold-out": "#009e73",
           "duplicate": "#cc79a7", "sell-out": "#e69f00"}
NAMES = {"fixed": "limit: empty Go server", "get-product": "GET product", "issue-coupon": "POST issue, accepted",
         "sold-out": "POST issue, sold out", "duplicate": "POST issue, duplicate", "sell-out": "POST issue until sold out"}
PERCENTILES = [("p50_ms", "p50"), ("p95_ms", "p95"), ("p99_ms", "p99"), ("p99_9_ms", "p99.9"), ("max_ms", "max")]
# In this order the processes are stacked.
PROCESSES = ["load client", "ecom-gateway", "ecom-server", "limit", "redis", "cache", "kafka", "mysql"]
PROCESS_COLOURS = ["#bbbbbb", "#0072b2", "#d55e00", "#000000", "#cc79a7", "#e69f00", "#009e73", "#56b4e9"]


def figures_of(result, part):
    return [f for f in result["parts"].get(part, {}).get("figures", []) if f["kind"] != "grown"]


def name_of(figure):
    if figure["target"] == "limit" and figure["kind"] != "fixed":
        return f"limit: echo server, {figure['kind']}"
    return NAMES.get(figure["kind"], figure["kind"])


def throughput(result):
    """[(name, kind, [(connections, {median, min, max})])] over REST."""
    lines = {}
    for f in figures_of(result, "rest"):
        lines.setdefault((name_of(f), f["kind"]), []).append((f["connections"], f["per_second"]))
    return [(name, kind, points) for (name, kind), points in lines.items()]


def percentiles(result, connections=64):
    """[(name, kind, [median of each percentile in ms])] over REST."""
    return [(name_of(f), f["kind"], [f["outcomes"][f["outcome"]][key]["median"] for key, _ in PERCENTILES])
            for f in figures_of(result, "rest") if f["connections"] == connections]


def against_rate(result):
    """[(name, kind, [(rate, {key: spread})])] of the open model."""
    lines = {}
    for f in figures_of(result, "open"):
        lines.setdefault((name_of(f), f["kind"]), []).append((f["rate"], f["outcomes"][f["outcome"]]))
    return [(name, kind, points) for (name, kind), points in lines.items()]


def lags(result):
    """[(name, [(bound in ms, share of claims whose row was there by then)])]; the last bucket has no bound."""
    found = []
    for part, unit in (("open", "rate"), ("rest", "connections")):
        for f in figures_of(result, part):
            if "lag" in f and f["lag"]["claims"]:
                name = f"{f['rate']}/s" if unit == "rate" else f"{f['connections']} connection" + "s" * (f["connections"] > 1)
                points = [(1000 * float(bound), count / f["lag"]["claims"])
                          for bound, count in f["lag"]["buckets"].items() if bound != "+Inf"]
                found.append((name, points))
    return found


def against_limit(result):
    """[(name, kind, {median, min, max})]: how many answers a second for each of the limit's."""
    found = []
    for part in ("rest", "grpc"):
        for f in figures_of(result, part):
            ratio = f.get("ratio", {}).get("per_second")
            if ratio:
                where = f"REST, c={f['connections']}" if part == "rest" else "gRPC"
                found.append((f"{name_of(f)} ({where})", f["kind"], ratio))
    return found


def machine(result):
    """[(name, {process: {cpu_cores, rss_peak_mib}})] of what ran at 64 connections or callers."""
    found = []
    for part in ("rest", "grpc"):
        for f in figures_of(result, part):
            if f.get("connections") == 64 and f.get("usage"):
                name = f"{'REST' if part == 'rest' else 'gRPC'}: {name_of(f)}"
                found.append((name, {p: {"cpu_cores": u["cpu_cores"]["median"], "rss_peak_mib": u["rss_peak_mib"]}
                                     for p, u in f["usage"].items()}))
    return found


def grown(result):
    """([(stock, spread of acceptances a second)], [(stock, bytes of a participant)])."""
    rates = [(f["stock"], f["per_second"]) for f in figures_of(result, "growth")]
    summary = next((f for f in result["parts"].get("growth", {}).get("figures", []) if f["kind"] == "grown"), {})
    # JSON knows only names as keys.
    return rates, [(int(stock), each) for stock, each in summary.get("bytes_per_participant_by_stock", {}).items()]


def error_bars(points):
    """Medians, and how far the extremes are from them, as matplotlib takes them."""
    values = [p["median"] for p in points]
    return values, [[p["median"] - p["min"] for p in points], [p["max"] - p["median"] for p in points]]


def new_axes(title, columns=1, height=4.2, rows=1):
    import matplotlib
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"font.size": 9, "axes.grid": True, "grid.color": "#e4e4e4", "axes.axisbelow": True,
                                "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": title,
                                "axes.titlesize": 10, "legend.frameon": False})
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(rows, columns, figsize=(8.4, height), layout="constrained")
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure, axes


def plot_throughput(result):
    lines = throughput(result)
    if not lines:
        return None
    figure, axes = new_axes("Answers a second against connections (REST, closed loop; median, bars: all rounds)")
    ticks = sorted({c for _, _, points in lines for c, _ in points})
    for name, kind, points in lines:
        values, errors = error_bars([p for _, p in points])
        axes.errorbar([ticks.index(c) for c, _ in points], values, yerr=errors, label=name, color=COLOURS[kind], marker="o",
                      markersize=4, capsize=3, linewidth=1.5, linestyle="--" if kind == "fixed" else "-")
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("connections")
    axes.set_ylabel("answers/s (log)")
    axes.legend(fontsize=8)
    return figure


def plot_latency(result):
    lines = percentiles(result)
    if not lines:
        return None
    figure, axes = new_axes("Latency at 64 connections (REST, closed loop; medians of the rounds)")
    for name, kind, values in lines:
        axes.plot(range(len(values)), values, label=name, color=COLOURS[kind], marker="o", markersize=4,
                  linestyle="--" if kind == "fixed" else "-")
    axes.set_xticks(range(len(PERCENTILES)), [name for _, name in PERCENTILES])
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylabel("ms (log)")
    axes.legend(fontsize=8)
    return figure


def plot_open(result):
    lines = against_rate(result)
    if not lines:
        return None
    figure, columns = new_axes("Open model: latency from when a request was due (medians, bars: all rounds)", columns=3)
    rates = sorted({rate for _, _, points in lines for rate, _ in points})
    for axes, key, title in zip(columns, ("p50_ms", "p95_ms", "p99_ms"), ("p50", "p95", "p99")):
        for name, kind, points in lines:
            values, errors = error_bars([p[key] for _, p in points])
            axes.errorbar([rates.index(rate) for rate, _ in points], values, yerr=errors, label=name, color=COLOURS[kind],
                          marker="o", markersize=4, capsize=3, linestyle="--" if kind == "fixed" else "-")
        axes.set_title(title)
        axes.set_xticks(range(len(rates)), rates)
        axes.set_xlabel("requests/s")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    columns[0].set_ylabel("ms (log)")
    bottom = min(axes.get_ylim()[0] for axes in columns)
    top = max(axes.get_ylim()[1] for axes in columns)
    for axes in columns:
        axes.set_ylim(bottom, top)
    figure.legend(*columns[0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, fontsize=8)
    return figure


def plot_lag(result):
    lines = lags(result)
    if not lines:
        return None
    figure, axes = new_axes("From the acceptance to the row (the server's histogram: a share is known at its bounds only)")
    from matplotlib import cm
    for number, (name, points) in enumerate(lines):
        axes.plot(range(len(points)), [100 * share for _, share in points], label=name, marker="o", markersize=4,
                  color=cm.viridis(number / max(1, len(lines))))
    axes.set_xticks(range(len(lines[0][1])), [f"{bound:g}" for bound, _ in lines[0][1]])
    axes.set_xlabel("at most so many ms")
    axes.set_ylabel("% of the claims")
    axes.legend(fontsize=8, loc="lower right")
    return figure


def plot_ratios(result):
    bars = against_limit(result)[::-1]
    if not bars:
        return None
    figure, axes = new_axes("Answers a second as a ratio to the limit of the same run (median, bars: all rounds)",
                            height=1.2 + 0.27 * len(bars))
    values, errors = error_bars([ratio for _, _, ratio in bars])
    axes.barh(range(len(bars)), values, xerr=errors, color=[COLOURS[kind] for _, kind, _ in bars], height=0.7, capsize=2,
              error_kw={"linewidth": 1, "ecolor": "#555555"})
    axes.set_yticks(range(len(bars)), [name for name, _, _ in bars])
    for row, (value, high) in enumerate(zip(values, errors[1])):
        axes.text(value + high, row, f"  {value:.2f}", va="center", fontsize=8)
    axes.axvline(1, color="#000000", linewidth=1, linestyle="--")
    axes.set_xlabel("1 = the limit")
    axes.grid(axis="y", visible=False)
    return figure


def plot_machine(result):
    rows = machine(result)[::-1]
    if not rows:
        return None
    figure, columns = new_axes("What each process took (CPU: median; memory: most)", columns=2, height=1.6 + 0.3 * len(rows))
    for axes, key, title in zip(columns, ("cpu_cores", "rss_peak_mib"), ("cores", "RSS, MiB")):
        for process, colour in zip(PROCESSES, PROCESS_COLOURS):
            # Kafka's memory is its heap setting, and would hide the rest.
            if key == "rss_peak_mib" and process in ("load client", "kafka", "mysql"):
                continue
            values = [usage.get(process, {}).get(key, 0) for _, usage in rows]
            lefts = [sum(usage.get(p, {}).get(key, 0) for p in PROCESSES[:PROCESSES.index(process)]
                         if not (key == "rss_peak_mib" and p in ("load client", "kafka", "mysql"))) for _, usage in rows]
            if any(values):
                axes.barh(range(len(rows)), values, left=lefts, color=colour, label=process, height=0.7)
        axes.set_title(title + (" (without Kafka and MariaDB)" if key == "rss_peak_mib" and "kafka" in rows[0][1] else ""))
        axes.grid(axis="y", visible=False)
    columns[0].set_yticks(range(len(rows)), [name for name, _ in rows])
    columns[1].set_yticks(range(len(rows)), [""] * len(rows))
    # One that took no CPU is in the other half only.
    handles = {label: handle for axes in columns for handle, label in zip(*axes.get_legend_handles_labels())}
    names = [process for process in PROCESSES if process in handles]
    figure.legend([handles[name] for name in names], names, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=5, fontsize=8)
    return figure


def plot_growth(result):
    rates, each = grown(result)
    if not rates:
        return None
    figure, columns = new_axes("Growth: coupons issued to their last unit, 64 connections (median, bars: all rounds)",
                               columns=2 if each else 1)
    left = columns[0] if each else columns
    values, errors = error_bars([rate for _, rate in rates])
    left.errorbar(range(len(rates)), values, yerr=errors, color=COLOURS["sell-out"], marker="o", capsize=3)
    left.set_xticks(range(len(rates)), [f"{stock:,}" for stock, _ in rates])
    left.set_ylim(bottom=0)
    left.set_ylabel("accepted/s")
    left.set_xlabel("stock")
    if each:
        columns[1].bar(range(len(each)), [value for _, value in each], color=COLOURS["duplicate"], width=0.5)
        columns[1].set_xticks(range(len(each)), [f"{stock:,}" for stock, _ in each])
        columns[1].axhline(100, color="#000000", linestyle="--", linewidth=1)
        columns[1].set_xlabel("participants")
        columns[1].set_ylabel("bytes of each in Redis (MEMORY USAGE)")
    return figure


def plot_comparison(rows, before, after):
    """Before and after: the second run's ratio to its limit next to the first one's."""
    rows = [row for row in rows if row["target"] != "limit" and row["ratio_before"] and row["ratio_after"]
            and row["part"] != "open"][::-1]
    if not rows:
        return None
    figure, axes = new_axes("Answers a second as a ratio to the limit of its own run", height=1.4 + 0.34 * len(rows))
    places = range(len(rows))
    axes.barh([p + 0.19 for p in places], [row["ratio_before"] for row in rows], height=0.36, color="#bbbbbb", label=f"A: {before}")
    axes.barh([p - 0.19 for p in places], [row["ratio_after"] for row in rows], height=0.36, color="#0072b2", label=f"B: {after}")
    for place, row in zip(places, rows):
        axes.text(max(row["ratio_before"], row["ratio_after"]), place, f"  ×{row['of_ratios']:.2f}", va="center", fontsize=8)
    axes.set_yticks(places, [f"{row['part']}: {row['what']}" for row in rows])
    axes.set_xlabel("1 = the limit")
    axes.grid(axis="y", visible=False)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    return figure


PLOTS = {"ratios": plot_ratios, "throughput": plot_throughput, "latency": plot_latency, "open-model": plot_open, "lag": plot_lag,
         "machine": plot_machine, "growth": plot_growth}


def drawn(figure, format):
    """A figure as bytes; the same figure gives the same SVG."""
    out = io.BytesIO()
    figure.savefig(out, format=format, dpi=150, bbox_inches="tight", metadata={"Date": None} if format == "svg" else None)
    return out.getvalue()


def draw(result):
    """{name: (SVG, PNG)} of the plots for which the run has figures."""
    from matplotlib import pyplot
    found = {}
    for name, plot in PLOTS.items():
        figure = plot(result)
        if figure is not None:
            found[name] = drawn(figure, "svg"), drawn(figure, "png")
            pyplot.close(figure)
    return found
