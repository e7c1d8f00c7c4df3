"""What is calculated from the legs of a run: medians, ratios to the limit, lags, verdicts. Pure functions.

A *leg* is one load of a few seconds against one server. The same legs again are a *round*; legs of one round
that belong together, a limit and what is measured against it, run one right after the other.
"""

import statistics

LATENCIES = ("p50_ms", "p95_ms", "p99_ms", "p99_9_ms", "max_ms")
# What JSON can say in place of infinity; no run takes as long.
LONGEST_LAG_SECONDS = 86_400
SHED = "503 CM503"
OUTCOMES = ("accepted", "sold_out", "duplicate", "error")


def spread(values):
    """Median and extremes of what the rounds showed."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(measured, limits):
    """Of each round its own ratio, then their spread: what disturbs a round disturbs both of its legs. None
    where a limit was 0."""
    if len(measured) != len(limits):
        raise ValueError(f"{len(measured)} rounds against {len(limits)}")
    if not measured or any(limit <= 0 for limit in limits):
        return None
    return {key: round(value, 4) for key, value in spread([m / l for m, l in zip(measured, limits)]).items()}


def difference(after, before):
    """What a cumulative histogram, {upper bound: how many at most that}, has counted since `before`."""
    return {bound: count - before.get(bound, 0) for bound, count in after.items()}


def total(histograms):
    """Several cumulative histograms with the same bounds as one."""
    return {bound: sum(h[bound] for h in histograms) for bound in histograms[0]} if histograms else {}


def bucket_of_quantile(buckets, quantile):
    """The upper bound, in seconds, of the bucket that a quantile lies in; None: of nothing there is none.
    The true quantile is at most that. Longer than the last bound: LONGEST_LAG_SECONDS."""
    count = buckets.get("+Inf", 0)
    if count == 0:
        return None
    wanted = quantile * count
    bound = float(next(bound for bound, seen in buckets.items() if seen >= wanted))
    return min(bound, LONGEST_LAG_SECONDS)


def lag(histograms):
    """How long after the acceptance the row was there, over all rounds, as far as the buckets tell."""
    buckets = total(histograms)
    in_ms = {q: bucket_of_quantile(buckets, q) for q in (0.5, 0.95, 0.99, 0.999)}
    return {"claims": buckets.get("+Inf", 0), "buckets": buckets,
            **{f"p{100 * q:g}".replace(".", "_") + "_ms_at_most": None if s is None else 1000 * s for q, s in in_ms.items()}}


def unexpected(report, wanted, may_shed):
    """The answers that a leg must not have had, {code: how many}. `may_shed`: 503s are no mistake, but an error
    among the others: a server that is asked for more than it can do refuses."""
    wrong = {name for name in OUTCOMES if name != wanted and report["outcomes"][name]["total"]}
    if may_shed and wrong == {"error"}:
        served = sum(report["outcomes"][name]["total"] for name in OUTCOMES if name != "error")
        shed = sum(count for code, count in report["total_by_code"].items() if code == SHED)
        if shed + served == sum(report["total_by_code"].values()):
            return {}
    return report["total_by_code"] if wrong else {}


def key_of(leg):
    return (leg["kind"], leg["target"], leg.get("connections", 0), leg.get("rate", 0), leg.get("stock", 0))


def series(legs):
    """The legs by what they have in common, in order of appearance; each list in order of rounds."""
    found = {}
    for leg in legs:
        found.setdefault(key_of(leg), []).append(leg)
    return found


def limit_of(leg, legs):
    """The legs of the limit that a leg is measured against: of the same connections and rate."""
    return [l for l in legs if l["kind"] == leg.get("limit") and l["target"] == "limit"
            and l.get("connections") == leg.get("connections") and l.get("rate", 0) == leg.get("rate", 0)]


def sum_up(legs):
    """One figure for each series: rate and latencies of each outcome apart, use of the machine, and the ratio
    to the limit."""
    figures = []
    for rounds in series(legs).values():
        first = rounds[0]
        figure = {name: first[name] for name in ("kind", "target", "connections", "rate", "stock", "limit", "outcome")
                  if first.get(name)}
        wanted = first["outcome"]
        figure["rounds"] = len(rounds)
        figure["per_second"] = spread([rate_of(leg) for leg in rounds])
        figure["outcomes"] = {
            outcome: {"measured": sum(leg["report"]["outcomes"][outcome]["measured"] for leg in rounds),
                      **{key: spread([leg["report"]["outcomes"][outcome][key] for leg in rounds
                                      if leg["report"]["outcomes"][outcome]["measured"]]) for key in LATENCIES}}
            for outcome in OUTCOMES if any(leg["report"]["outcomes"][outcome]["measured"] for leg in rounds)}
        if "late" in first["report"]:
            figure["sent_late"] = {key: spread([leg["report"]["late"][key] for leg in rounds]) for key in LATENCIES}
        names = sorted({name for leg in rounds for name in leg.get("usage", {})})
        figure["usage"] = {name: {"cpu_cores": spread([leg["usage"][name]["cpu_cores"] for leg in rounds]),
                                  "rss_peak_mib": max(leg["usage"][name].get("rss_peak_mib", 0) for leg in rounds)}
                           for name in names}
        limits = limit_of(first, legs)
        if limits:
            figure["ratio"] = {"per_second": ratios([rate_of(leg) for leg in rounds], [rate_of(leg) for leg in limits])}
            for key in LATENCIES:
                figure["ratio"][key] = ratios([leg["report"]["outcomes"][wanted][key] for leg in rounds],
                                              [leg["report"]["outcomes"][leg["outcome"]][key] for leg in limits])
        lags = [leg["lag"] for leg in rounds if "lag" in leg]
        if lags:
            figure["lag"] = lag(lags)
        figures.append(figure)
    return figures


def rate_of(leg):
    """Answers of the wanted outcome a second."""
    return leg["report"]["outcomes"][leg["outcome"]]["measured"] / leg["report"]["seconds"]


def find(figures, **wanted):
    """The figure with these properties, or None."""
    return next((f for f in figures if all(f.get(name) == value for name, value in wanted.items())), None)


def value_at(figure, path):
    """A number inside a figure, or None when it is not there."""
    for name in path:
        if not isinstance(figure, dict) or name not in figure:
            return None
        figure = figure[name]
    return figure


def accepted(key):
    return ("outcomes", "accepted", key, "median")


# What is promised of a machine of 2 cores with the load client on it: part, figure, number, rule, bound, and
# the backend if it is promised of one only. "limit" adds the same number of the limit's figure to the bound.
GOALS = [
    ("rest", {"kind": "get-product", "connections": 64}, ("ratio", "per_second", "median"), ">=", 0.55, None),
    ("rest", {"kind": "get-product", "connections": 64}, accepted("p99_ms"), "<=", 10, None),
    ("rest", {"kind": "get-product", "connections": 1}, ("ratio", "p50_ms", "median"), "<=", 1.3, None),
    ("rest", {"kind": "issue-coupon", "connections": 64}, ("ratio", "per_second", "median"), ">=", 0.30, "stack"),
    ("rest", {"kind": "issue-coupon", "connections": 64}, accepted("p50_ms"), "<=", 5, "stack"),
    ("rest", {"kind": "issue-coupon", "connections": 64}, accepted("p99_ms"), "<=", 15, "stack"),
    ("rest", {"kind": "issue-coupon", "connections": 256}, ("ratio", "per_second", "median"), ">=", 0.45, "stack"),
    ("rest", {"kind": "sold-out", "connections": 64}, ("ratio", "per_second", "median"), ">=", 0.5, None),
    ("rest", {"kind": "duplicate", "connections": 64}, ("ratio", "per_second", "median"), ">=", 0.5, None),
    ("grpc", {"kind": "get-product", "target": "product"}, ("ratio", "per_second", "median"), ">=", 0.9, None),
    ("grpc", {"kind": "issue-coupon", "target": "product"}, ("ratio", "per_second", "median"), ">=", 0.5, None),
    ("open", {"kind": "issue-coupon", "rate": 1000}, accepted("p95_ms"), "<=", 3, None),
    ("open", {"kind": "issue-coupon", "rate": 1000}, accepted("p99_9_ms"), "<= limit +", 10, None),
    ("open", {"kind": "issue-coupon", "rate": 2000}, accepted("p95_ms"), "<=", 6, None),
    ("open", {"kind": "get-product", "rate": 2000}, accepted("p95_ms"), "<=", 2, None),
    ("open", {"kind": "get-product", "rate": 2000}, accepted("p99_ms"), "<=", 8, None),
    ("open", {"kind": "issue-coupon", "rate": 5000}, ("lag", "p99_ms_at_most"), "<=", 250, None),
    ("growth", {"kind": "grown"}, ("per_second_least_to_most",), ">=", 0.9, None),
    ("growth", {"kind": "grown"}, ("bytes_per_participant_max",), "<=", 100, "stack"),
]
# Of the scenarios with think time.
SCENARIO_GOALS = [("coupon, think time", "p95_ms", 2.5), ("popular-products, think time", "p50_ms", 0.5),
                  ("popular-products, think time", "p95_ms", 1.5)]
RSS_LOADED_MIB_MAX = 150
# What a change must not fall below, whatever the machine: about half of what was reached on the embedded backend
# (bench/README.md), as a ratio to the limit of the same minute, and latencies that a busy machine still has.
GATE = [
    ("rest", {"kind": "get-product", "connections": 64}, ("ratio", "per_second", "median"), ">=", 0.25, None),
    ("rest", {"kind": "get-product", "connections": 64}, accepted("p99_ms"), "<=", 50, None),
    ("rest", {"kind": "issue-coupon", "connections": 64}, ("ratio", "per_second", "median"), ">=", 0.10, None),
    ("rest", {"kind": "issue-coupon", "connections": 64}, accepted("p99_ms"), "<=", 100, None),
    ("rest", {"kind": "sold-out", "connections": 64}, ("ratio", "per_second", "median"), ">=", 0.15, None),
    ("rest", {"kind": "duplicate", "connections": 64}, ("ratio", "per_second", "median"), ">=", 0.15, None),
    ("rest", {"kind": "issue-coupon", "connections": 64}, ("lag", "p99_ms_at_most"), "<=", 1000, None),
]
# The least that a ratio to the limit may be of that of the run before: legs of two seconds are noisy.
OF_THE_RUN_BEFORE_MIN = 0.6
# The numbers in GOALS and GATE, for a person.
WORDS = {"ratio.per_second": "answers/s as a ratio to the limit's", "ratio.p50_ms": "p50 as a ratio to the limit's",
         "lag.p99_ms_at_most": "row after the acceptance, p99 at most, ms",
         "per_second_least_to_most": "slowest stock as a ratio to the fastest",
         "bytes_per_participant_max": "bytes a participant in Redis",
         **{f"outcomes.accepted.{key}": f"{name}, ms" for key, name in
            (("p50_ms", "p50"), ("p95_ms", "p95"), ("p99_ms", "p99"), ("p99_9_ms", "p99.9"))}}


def judge(parts, backend, goals=GOALS):
    """A verdict for each goal that the run has measured: {part, what, rule, value, ok}."""
    verdicts = []
    for part, wanted, path, rule, bound, only in goals:
        figures = parts.get(part, {}).get("figures", [])
        figure = find(figures, **wanted)
        value = value_at(figure, path)
        if value is None or only not in (None, backend):
            continue
        if rule == "<= limit +":
            limit = find(figures, kind=figure.get("limit"), target="limit", rate=figure.get("rate"))
            beside = value_at(limit, path)
            if beside is None:
                continue
            rule, bound = "<=", round(beside + bound, 3)
        ok = value >= bound if rule == ">=" else value <= bound
        verdicts.append({"part": part, "what": f"{named(wanted)}: {WORDS['.'.join(p for p in path if p != 'median')]}",
                         "rule": f"{rule} {bound:g}", "value": value, "ok": ok})
    for part, content in parts.items():
        both = ("ecom-server", "ecom-gateway")
        usages = [f.get("usage", {}) for f in content.get("figures", [])] + list(content.get("usage", {}).values())
        peak = max((sum(usage[name]["rss_peak_mib"] for name in both) for usage in usages if set(both) <= set(usage)), default=None)
        if peak is not None:
            verdicts.append({"part": part, "what": "server and gateway, RSS in MiB", "rule": f"<= {RSS_LOADED_MIB_MAX}",
                             "value": round(peak, 1), "ok": peak <= RSS_LOADED_MIB_MAX})
        for name, key, bound in SCENARIO_GOALS:
            value = value_at(content, ("summaries", name, "latency", key))
            if value is not None:
                verdicts.append({"part": part, "what": f"{name}: {key}", "rule": f"<= {bound:g}", "value": value, "ok": value <= bound})
        for name, summary in content.get("summaries", {}).items():
            verdicts += [{"part": part, "what": f"{name}: {t.get('metric', '')} {t['rule']}".replace("  ", " "), "rule": "",
                          "value": t["value"], "ok": t["ok"]} for t in summary.get("thresholds", [])]
    return verdicts


def named(wanted):
    words = ["coupons of any stock" if wanted["kind"] == "grown" else wanted["kind"]]
    if wanted.get("connections"):
        words.append(f"at {wanted['connections']} connection" + ("s" if wanted["connections"] > 1 else ""))
    if wanted.get("rate"):
        words.append(f"at {wanted['rate']}/s")
    return " ".join(words)


def growth(figures, memory):
    """How the rate of acceptances and the bytes of a participant change with the stock. `memory`: {stock:
    [bytes each]}, on the stack only."""
    rates = {f["stock"]: f["per_second"]["median"] for f in figures if f.get("stock")}
    grown = {"kind": "grown", "target": "product", "per_second_by_stock": rates,
             "per_second_least_to_most": round(min(rates.values()) / max(rates.values()), 3)}
    if memory:
        each = {stock: round(statistics.median(found), 1) for stock, found in memory.items()}
        grown["bytes_per_participant_by_stock"] = each
        grown["bytes_per_participant_max"] = max(each.values())
    return grown


def compare(before, after):
    """The figures that two runs have in common: what the second reached as a ratio to the first, and, where
    both have a limit, the same of their ratios to it, which is the one to trust across machines and days."""
    rows = []
    for part in after["parts"]:
        for figure in after["parts"][part].get("figures", []):
            if figure.get("kind") == "grown":
                continue
            wanted = {name: figure.get(name) for name in ("kind", "target", "connections", "rate", "stock")}
            other = find(before["parts"].get(part, {}).get("figures", []), **wanted)
            if other is None:
                continue
            row = {"part": part, "what": named({**wanted, "kind": figure["kind"] + (" (limit)" if figure["target"] == "limit" else "")})
                   + (f", stock {figure['stock']}" if figure.get("stock") else ""), "target": figure["target"]}
            row["per_second"] = quotient(value_at(figure, ("per_second", "median")), value_at(other, ("per_second", "median")))
            for key in ("p50_ms", "p99_ms"):
                path = ("outcomes", figure["outcome"], key, "median")
                row[key] = quotient(value_at(figure, path), value_at(other, path))
            path = ("ratio", "per_second", "median")
            row["ratio_before"], row["ratio_after"] = value_at(other, path), value_at(figure, path)
            row["of_ratios"] = quotient(row["ratio_after"], row["ratio_before"])
            rows.append(row)
    return rows


def against(before, after):
    """A verdict for each figure that a run and the one before it have in common, by its ratio to the limit."""
    return [{"part": row["part"], "what": f"{row['what']}: ratio to the limit's, of that of the run before", "value": row["of_ratios"],
             "rule": f">= {OF_THE_RUN_BEFORE_MIN:g}", "ok": row["of_ratios"] >= OF_THE_RUN_BEFORE_MIN}
            for row in compare(before, after) if row["of_ratios"] is not None]


def quotient(a, b):
    return round(a / b, 3) if a is not None and b else None
