#!/usr/bin/env python3
"""Tests what is calculated from a run, and the pages made of it: no server, no load, no matplotlib.

Says what passed as `go test -v` does, which tests/run counts.
"""

import copy
import html.parser
import json
import pathlib
import sys
import unittest

sys.dont_write_bytecode = True
BENCH = pathlib.Path(__file__).resolve().parent
sys.path[0:0] = [str(BENCH), str(BENCH / "report")]
import compare
import figures
import kit
import page
import plots
import report

KEYS = (*figures.LATENCIES,)


def outcome(count, *latencies):
    return {"measured": count, "total": count + 10 * (count > 0), **dict(zip(KEYS, latencies or [0] * 5))}


def leg(kind, target, number, rate_per_second, p50, wanted="accepted", seconds=2.0, **more):
    """A leg whose latencies are multiples of its p50."""
    outcomes = {name: outcome(0) for name in figures.OUTCOMES}
    outcomes[wanted] = outcome(int(rate_per_second * seconds), p50, 2 * p50, 3 * p50, 4 * p50, 5 * p50)
    usage = ({"limit": {"cpu_cores": 0.5, "rss_peak_mib": 14.0}} if target == "limit" else
             {"ecom-server": {"cpu_cores": 0.4, "rss_peak_mib": 40.0 + number}, "ecom-gateway": {"cpu_cores": 0.6, "rss_peak_mib": 30.0}})
    usage["load client"] = {"cpu_cores": 0.3}
    return {"kind": kind, "target": target, "round": number, "outcome": wanted, "usage": usage,
            "report": {"seconds": seconds, "outcomes": outcomes}, **more}


def buckets(*counts):
    return dict(zip(("0.005", "0.25", "+Inf"), counts))


def run_of(factor=1.0):
    """A run of three rounds, as kit.run writes it; `factor`: how fast the product is."""
    rest, opened, grown = [], [], []
    for number, noise in enumerate((1.0, 0.5, 0.8)):
        for connections in (1, 64):
            rest.append(leg("fixed", "limit", number, 50_000 * noise, 0.1, connections=connections))
            for kind, wanted, share in (("get-product", "accepted", 0.6), ("issue-coupon", "accepted", 0.2),
                                        ("sold-out", "sold_out", 0.3), ("duplicate", "duplicate", 0.55)):
                rest.append(leg(kind, "product", number, 50_000 * noise * share * factor, 0.5, wanted, connections=connections,
                                limit="fixed", **({"lag": buckets(10, 90, 100)} if kind == "issue-coupon" else {})))
        opened.append(leg("fixed", "limit", number, 1000, 0.2, connections=256, rate=1000))
        opened.append(leg("issue-coupon", "product", number, 1000, 1.0, connections=256, rate=1000, limit="fixed", lag=buckets(0, 0, 1000)))
        for stock in (1000, 10_000):
            grown.append(leg("sell-out", "product", number, 9000 if stock == 1000 else 8500, 2.0, connections=64, stock=stock))
    found = figures.sum_up(grown)
    ledger = {"accepted": 1, "rows": 1, "ledger": "clean", "generator": "a client"}
    parts = {"rest": {"figures": figures.sum_up(rest), "legs": rest, **ledger},
             "open": {"figures": figures.sum_up(opened), "legs": opened, **ledger},
             "growth": {"figures": [*found, figures.growth(found, {1000: [40.0, 41.0], 10_000: [52.0]})], "legs": grown, **ledger},
             "scenarios": {"generator": "a client", "usage": {"coupon, think time": {
                 "ecom-server": {"rss_peak_mib": 100.0, "cpu_cores": 0.1}, "ecom-gateway": {"rss_peak_mib": 60.0, "cpu_cores": 0.2}}}, "summaries": {"coupon, think time": {
                 "seconds": 90, "requests_per_second": 80.0, "latency": {"p95_ms": 2.0}, "thresholds": [{"rule": "p95_ms < 300", "value": 2.0, "ok": True}],
                 "outcomes": {"accepted": {"count": 1000, "avg_ms": 1, "p50_ms": 1, "p95_ms": 2, "p99_ms": 3, "p99_9_ms": 4, "max_ms": 5}}}}},
             "grpc": {"failed": "10 claims were accepted, and there are <11> rows\nmore", "figures": []}}
    result = {"when": "2026-01-02T03:04:05Z", "machine": {"cpu": "a & b", "cores": 2, "memory_gib": 24, "kernel": "6"}, "commit": "c0ffee",
              "backend": "stack", "benchmark": "kit", "command": "bench/run.py kit <x>", "seconds": 2, "rounds": 3,
              "warm_up_seconds": 0.5, "first_warm_up_seconds": 1, "stock": 50_000_000, "load_average": 0.1, "parts": parts, "failed_parts": []}
    result["verdicts"] = figures.judge(parts, "stack")
    return json.loads(json.dumps(result))


class Figures(unittest.TestCase):
    def test_a_spread_is_the_median_and_the_extremes(self):
        self.assertEqual(figures.spread([3, 1, 2, 10]), {"median": 2.5, "min": 1, "max": 10})

    def test_a_ratio_is_taken_round_by_round(self):
        # The last round was disturbed, both of its legs. The ratio of the medians would be 0.5.
        self.assertEqual(figures.ratios([600, 500, 60], [1000, 1000, 100]), {"median": 0.6, "min": 0.5, "max": 0.6})

    def test_there_is_no_ratio_to_nothing(self):
        self.assertIsNone(figures.ratios([1.0], [0]))
        self.assertIsNone(figures.ratios([], []))
        with self.assertRaises(ValueError):
            figures.ratios([1, 2], [1])

    def test_a_lag_is_of_the_claims_of_its_legs_only(self):
        seen = figures.difference(buckets(110, 140, 200), buckets(100, 100, 100))
        self.assertEqual(seen, buckets(10, 40, 100))
        self.assertEqual(figures.difference(buckets(1, 2, 3), {}), buckets(1, 2, 3))

    def test_a_lag_is_never_below_the_truth(self):
        found = figures.lag([buckets(50, 90, 90), buckets(10, 10, 10)])
        self.assertEqual((found["claims"], found["p50_ms_at_most"], found["p99_ms_at_most"]), (100, 5, 250))
        self.assertEqual(figures.bucket_of_quantile(buckets(50, 90, 100), 0.5), 0.005)
        self.assertEqual(figures.bucket_of_quantile(buckets(0, 0, 7), 0.5), figures.LONGEST_LAG_SECONDS)
        self.assertIsNone(figures.bucket_of_quantile(buckets(0, 0, 0), 0.5))

    def test_only_the_open_model_may_be_refused_and_only_as_busy(self):
        def report(codes, **totals):
            return {"outcomes": {name: {"total": totals.get(name, 0)} for name in figures.OUTCOMES}, "total_by_code": codes}
        clean = report({"200": 5}, accepted=5)
        busy = report({"200": 5, "503 CM503": 2}, accepted=5, error=2)
        lost = report({"200": 5, "503 CM503": 1, "timeout": 1}, accepted=5, error=2)
        sold_out = report({"200": 5, "400 CP101": 1}, accepted=5, sold_out=1)
        self.assertFalse(figures.unexpected(clean, "accepted", False))
        self.assertTrue(figures.unexpected(busy, "accepted", False))
        self.assertFalse(figures.unexpected(busy, "accepted", True))
        self.assertTrue(figures.unexpected(lost, "accepted", True))
        self.assertTrue(figures.unexpected(sold_out, "accepted", True))

    def test_outcomes_stay_apart(self):
        rounds = [leg("sold-out", "product", 0, 100, 1.0, "sold_out", connections=64)]
        rounds[0]["report"]["outcomes"]["accepted"] = outcome(5, 9, 9, 9, 9, 9)
        (figure,) = figures.sum_up(rounds)
        self.assertEqual(set(figure["outcomes"]), {"accepted", "sold_out"})
        self.assertEqual(figure["outcomes"]["sold_out"]["p50_ms"]["median"], 1.0)
        self.assertEqual(figure["per_second"]["median"], 100)

    def test_a_figure_is_measured_against_the_limit_of_its_connections_and_rate(self):
        result = run_of()
        figure = figures.find(result["parts"]["rest"]["figures"], kind="get-product", connections=64)
        self.assertEqual(figure["ratio"]["per_second"], {"median": 0.6, "min": 0.6, "max": 0.6})
        self.assertEqual(figure["ratio"]["p50_ms"]["median"], 5)
        self.assertEqual(figure["rounds"], 3)
        self.assertEqual(figure["usage"]["ecom-server"]["rss_peak_mib"], 42)
        self.assertNotIn("ratio", figures.find(result["parts"]["rest"]["figures"], kind="fixed", connections=64))

    def test_goals_are_judged_by_what_was_measured_and_no_others(self):
        verdicts = {v["what"]: v["ok"] for v in run_of()["verdicts"] if v["part"] != "scenarios"}
        self.assertTrue(verdicts["get-product at 64 connections: answers/s as a ratio to the limit's"])
        self.assertFalse(verdicts["sold-out at 64 connections: answers/s as a ratio to the limit's"])
        self.assertTrue(verdicts["duplicate at 64 connections: answers/s as a ratio to the limit's"])
        self.assertFalse(verdicts["issue-coupon at 64 connections: answers/s as a ratio to the limit's"])
        self.assertTrue(verdicts["coupons of any stock: bytes a participant in Redis"])
        self.assertTrue(verdicts["server and gateway, RSS in MiB"])
        of_scenarios = {v["what"]: v["ok"] for v in run_of()["verdicts"] if v["part"] == "scenarios"}
        self.assertEqual(of_scenarios, {"server and gateway, RSS in MiB": False, "coupon, think time: p95_ms": True,
                                        "coupon, think time: p95_ms < 300": True})
        self.assertFalse(any("256 connections" in what or "5000/s" in what for what in verdicts))

    def test_a_goal_of_the_stack_is_not_judged_on_another_backend(self):
        whats = [v["what"] for v in figures.judge(run_of()["parts"], "embedded")]
        self.assertFalse(any(what.startswith("issue-coupon at 64 connections") for what in whats))

    def test_a_bound_may_stand_on_the_limits_own_jitter(self):
        (verdict,) = [v for v in run_of()["verdicts"] if v["what"] == "issue-coupon at 1000/s: p99.9, ms"]
        # p99.9 of the limit is 4 * 0.2 ms.
        self.assertEqual((verdict["rule"], verdict["ok"]), ("<= 10.8", True))

    def test_every_goal_has_words(self):
        for _, wanted, path, *_ in figures.GOALS + figures.GATE:
            self.assertIn(".".join(p for p in path if p != "median"), figures.WORDS)
            self.assertTrue(figures.named(wanted))

    def test_the_gate_is_closed_for_a_product_that_is_too_slow(self):
        def rates(factor):
            found = figures.judge(run_of(factor)["parts"], "embedded", figures.GATE)
            return {v["what"].split(" at ")[0]: v["ok"] for v in found if "answers/s" in v["what"]}
        self.assertEqual(rates(1.0), {"get-product": True, "issue-coupon": True, "sold-out": True, "duplicate": True})
        self.assertEqual(rates(0.4), {"get-product": False, "issue-coupon": False, "sold-out": False, "duplicate": True})

    def test_growth_is_the_slowest_stock_against_the_fastest(self):
        grown = figures.find(run_of()["parts"]["growth"]["figures"], kind="grown")
        self.assertEqual(grown["per_second_least_to_most"], 0.944)
        self.assertEqual(grown["bytes_per_participant_max"], 52)


class Comparison(unittest.TestCase):
    def test_a_faster_product_is_seen_on_the_same_limit(self):
        rows = figures.compare(run_of(), run_of(2.0))
        row = next(r for r in rows if r["what"] == "issue-coupon at 64 connections")
        self.assertEqual((row["per_second"], row["ratio_before"], row["ratio_after"], row["of_ratios"]), (2.0, 0.2, 0.4, 2.0))
        limit = next(r for r in rows if r["what"] == "fixed (limit) at 64 connections")
        self.assertEqual((limit["per_second"], limit["of_ratios"]), (1.0, None))

    def test_a_run_is_judged_by_its_ratios_against_the_one_before(self):
        # An open model's rate is the client's.
        closed_loops = lambda factor: [v["ok"] for v in figures.against(run_of(), run_of(factor)) if v["part"] == "rest"]
        self.assertEqual(set(closed_loops(0.7)), {True})
        self.assertEqual(set(closed_loops(0.5)), {False})

    def test_what_only_one_run_has_is_left_out(self):
        before = run_of()
        del before["parts"]["rest"]
        self.assertFalse([r for r in figures.compare(before, run_of()) if r["part"] == "rest"])

    def test_it_warns_where_absolute_figures_mislead(self):
        other = copy.deepcopy(run_of())
        self.assertEqual(compare.warnings(run_of(), other), [])
        other["machine"]["cores"], other["backend"] = 64, "embedded"
        self.assertEqual(len(compare.warnings(run_of(), other)), 2)

    def test_the_table_and_the_page_say_the_same(self):
        rows = figures.compare(run_of(), run_of(2.0))
        self.assertIn("issue-coupon at 64 connections", compare.text(rows))
        checked(self, compare.render(run_of(), run_of(2.0), rows, b"<svg/>"))


class Links(html.parser.HTMLParser):
    """What a page would fetch, and whether its tags match."""

    VOID = {"meta", "img", "br", "link"}

    def __init__(self):
        super().__init__()
        self.fetched, self.open, self.wrong = [], [], []

    def handle_starttag(self, tag, attrs):
        self.fetched += [value for name, value in attrs if name in ("src", "href") and not value.startswith("data:")]
        if tag in ("script", "link", "iframe"):
            self.fetched.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def checked(test, text):
    links = Links()
    links.feed(text)
    test.assertEqual((links.fetched, links.wrong, links.open), ([], [], []))
    test.assertNotIn("@import", text)
    return text


class Report(unittest.TestCase):
    def test_the_page_needs_nothing_but_itself(self):
        text = checked(self, report.render(run_of(), {"latency": b"<svg/>"}))
        self.assertIn("data:image/svg+xml;base64,PHN2Zy8+", text)

    def test_the_page_says_where_its_figures_come_from(self):
        text = report.render(run_of(), {})
        for said in ("a &amp; b", "c0ffee", "bench/run.py kit &lt;x&gt;", "stack", "3 rounds of 2 s"):
            self.assertIn(said, text)

    def test_a_part_without_a_clean_ledger_shows_no_figure(self):
        text = report.render(run_of(), {})
        self.assertIn("there are &lt;11&gt; rows", text)
        self.assertIn("NOT CLEAN", text)

    def test_refusals_have_rows_of_their_own(self):
        text = report.render(run_of(), {})
        self.assertIn("<td>POST issue, sold out, c=64</td><td>sold out</td>", text)
        self.assertIn("<td>POST issue, duplicate, c=64</td><td>duplicate</td>", text)

    def test_thresholds_are_counted(self):
        result = run_of()
        missed = sum(not v["ok"] for v in result["verdicts"])
        self.assertIn(f"Thresholds: {len(result['verdicts']) - missed} reached, {missed} missed", report.render(result, {}))

    def test_each_plot_has_its_points(self):
        result = run_of()
        self.assertEqual([len(points) for _, _, points in plots.throughput(result)], [2] * 5)
        self.assertEqual({name for name, _, _ in plots.percentiles(result)}, {plots.NAMES[k] for k in
                         ("fixed", "get-product", "issue-coupon", "sold-out", "duplicate")})
        for drawn, measured in zip(plots.percentiles(result)[0][2], (0.1, 0.2, 0.3, 0.4, 0.5)):
            self.assertAlmostEqual(drawn, measured)
        self.assertEqual([rate for rate, _ in plots.against_rate(result)[0][2]], [1000])
        self.assertEqual(dict(plots.lags(result))["64 connections"], [(5, 0.1), (250, 0.9)])
        self.assertEqual(dict(plots.lags(result))["1000/s"], [(5, 0), (250, 0)])
        self.assertEqual(plots.grown(result)[1], [(1000, 40.5), (10_000, 52)])
        self.assertEqual(len(plots.against_limit(result)), 8)

    def test_error_bars_reach_to_the_extremes(self):
        self.assertEqual(plots.error_bars([{"median": 5, "min": 2, "max": 9}]), ([5], [[3], [4]]))

    def test_the_plots_and_the_page_have_the_same_names(self):
        self.assertEqual(set(plots.PLOTS), set(report.WORDS))
        self.assertEqual({*kit.PARTS, "scenarios"}, set(report.TITLES))

    def test_numbers_are_short(self):
        self.assertEqual([report.number(v) for v in (12345.6, 999.9, 0.12345, 7.0, None)], ["12,346", "1,000", "0.123", "7", "–"])

    def test_html_in_a_cell_is_shown_not_meant(self):
        self.assertIn("<td>&lt;b&gt;</td>", page.table([], [("<b>",)]))


class Said(unittest.TextTestResult):
    """A line for each test, as `go test -v` has it."""

    def addSuccess(self, test):
        super().addSuccess(test)
        print(f"--- PASS: {test.id()}", flush=True)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        print(f"--- FAIL: {test.id()}", flush=True)

    def addError(self, test, err):
        super().addError(test, err)
        print(f"--- FAIL: {test.id()}", flush=True)


if __name__ == "__main__":
    unittest.main(testRunner=unittest.TextTestRunner(resultclass=Said, verbosity=0, stream=sys.stdout))
