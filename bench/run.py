#!/usr/bin/env python3
"""Measures the product and writes what it found to bench/results/.

    bench/run.py embedded [--rounds 5] [--seconds 5]    server alone, over gRPC
    bench/run.py stack [--rounds 5] [--seconds 5]       server on Redis, Kafka and MariaDB, over gRPC
    bench/run.py scenarios [--short] [--backend stack]  `make run`, over REST
    bench/run.py kit [--backend stack] [--parts …]      all of it beside the limits: what `make bench` runs
    bench/run.py gate                                   short, and fails below what a change must reach
    bench/run.py overload                               ten times what the gate takes, with and without admission control

A figure appears only when the check behind it is clean: no wrong answer, exactly one row for each
accepted claim, one view for each read, a clean stop; on the stack also a gate and events that say the same.
Otherwise the run says why and exits with 1.
"""

import argparse
import json
import os
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys
import time

# The checkout stays as it is: no __pycache__ beside the scripts.
sys.dont_write_bytecode = True
import harness
import kit
from figures import GATE, against, bucket_of_quantile, spread
from harness import Failed, ROOT
from kit import as_typed

# More users than this a round cannot ask at any speed that one machine reaches.
USERS_PER_ROUND = 100_000_000
# So that every claim of every round is accepted: refusals are cheaper, and another figure.
STOCK_FOR_ALL = 50_000_000
IDLE_SECONDS = 2
RELEASE = ROOT / "build" / "release" / "bin"
TARGETS = {"embedded": {"get-product": 20_000, "list-popular": 10_000, "issue-coupon": 5_000},
           "stack": {"list-popular": 10_000, "issue-coupon": 5_000}}
RSS_IDLE_MIB_MAX = 60
RSS_LOADED_MIB_MAX = 150
# `health` asks the server for next to nothing: what the machine and gRPC allow in this very run.
METHODS = ["health", "get-product", "list-popular", "issue-coupon"]


def load(client, target, method, round_number, options):
    command = [str(client), f"--target={target}", f"--method={method}", f"--callers={options.callers}",
               f"--connections={options.connections}", f"--threads={options.threads}",
               f"--seconds={options.seconds}", f"--seed={round_number}",
               f"--user_base={1 + round_number * USERS_PER_ROUND}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{shlex.join(command)} exited with {done.returncode}: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    wrong = {code: count for code, count in report["total_by_code"].items() if code != "OK"}
    if wrong:
        raise Failed(f"{method}: answers other than OK: {wrong} {done.stderr.strip()}")
    return command, report


def sum_up(rounds):
    """Median and spread over the rounds of one method."""
    latency = {key: spread([r["outcomes"]["accepted"][key] for r in rounds])
               for key in ("p50_ms", "p95_ms", "p99_ms", "p99_9_ms", "max_ms")}
    return {"accepted_per_second": spread([r["accepted_per_second"] for r in rounds]), **latency,
            "server_cpu_cores": spread([r["server"]["cpu_cores"] for r in rounds]),
            "server_rss_peak_mib": max(r["server"]["rss_peak_mib"] for r in rounds)}


def server_alone(options):
    binaries = ROOT / "build" / "release" / "bin"
    server, client = binaries / "ecom-server", binaries / "ecom-bench-grpc"
    for binary in (server, client):
        if not binary.exists():
            raise Failed(f"{binary} is not built")
    grpc, admin = harness.free_addresses(2)
    rounds, commands = {method: [] for method in METHODS}, []
    around = harness.surroundings(options.backend)
    targets = TARGETS[options.backend]
    with harness.data_folder() as folder, harness.BACKENDS[options.backend](folder) as store:
        environment = {**store.environment, "GRPC_ADDR": grpc, "ADMIN_ADDR": admin,
                       "ECOM_SAMPLE_DATA": "true", "COUPON_STOCK": str(STOCK_FOR_ALL)}
        with harness.Process([str(server)], environment, folder / "server.log") as process:
            process.wait_ready(f"http://{admin}/health/ready")
            time.sleep(IDLE_SECONDS)
            idle = harness.memory_mib(process.pid)
            for number in range(options.rounds):
                for method in METHODS:
                    with harness.Sampler({"server": process.pid}) as sampler:
                        command, report = load(client, grpc, method, number, options)
                    rounds[method].append({**report, "server": sampler.usage["server"]})
                    commands.append(as_typed(command))
            accepted = sum(r["outcomes"]["accepted"]["total"] for r in rounds["issue-coupon"])
            rows = harness.check_rows(store, accepted)
            row_delays = harness.histogram(f"http://{admin}/metrics", "coupon_queue_to_row_seconds")
            process.stop()
        reads = sum(r["outcomes"]["accepted"]["total"] for r in rounds["get-product"])
        harness.check_rows(store, accepted)
        harness.check_views(store, reads)

    figures = {method: sum_up(rounds[method]) for method in METHODS}
    control = figures["health"]["accepted_per_second"]["median"]
    for method in METHODS:
        figures[method]["ratio_to_health"] = round(figures[method]["accepted_per_second"]["median"] / control, 3)
    loaded = max(figures[method]["server_rss_peak_mib"] for method in METHODS)
    result = {**around, "benchmark": f"{options.backend}-grpc", "command": shlex.join(["bench/run.py", *sys.argv[1:]]),
              "generator": "ecom-bench-grpc, on the same machine", "stock": STOCK_FOR_ALL,
              "errors": 0, "accepted": accepted, "rows": rows, "reads": reads, "views": reads,
              "accepted_to_row_seconds": row_delays, "rss_idle_mib": round(idle, 1), "rss_loaded_mib": loaded,
              "figures": figures, "commands": commands, "rounds": rounds}
    path = harness.store(f"{options.backend}-grpc", result)

    print(harness.shown(around))
    print(f"{result['command']}: {options.rounds} rounds of {options.seconds:g} s, {options.callers} callers, "
          f"{options.connections} connections; generator on the same cores")
    print(f"{'':14}{'accepted/s':>11} {'min..max':>19} {'p50':>8} {'p95':>8} {'p99':>8} {'p99.9':>8} {'max':>8} ms"
          f" {'cores':>6} {'ratio':>6}  wanted")
    for method, f in figures.items():
        rate = f["accepted_per_second"]
        wanted = targets.get(method)
        verdict = "" if wanted is None else f">= {wanted}: {'reached' if rate['median'] >= wanted else 'MISSED'}"
        print(f"{method:14}{rate['median']:>11,.0f} {rate['min']:>9,.0f}..{rate['max']:<8,.0f} "
              + " ".join(f"{f[k]['median']:>8.3f}" for k in ("p50_ms", "p95_ms", "p99_ms", "p99_9_ms", "max_ms"))
              + f"    {f['server_cpu_cores']['median']:>6.2f} {f['ratio_to_health']:>6.2f}  {verdict}")
    for name, value, most in (("idle", idle, RSS_IDLE_MIB_MAX), ("loaded", loaded, RSS_LOADED_MIB_MAX)):
        print(f"server RSS {name}: {value:.1f} MiB (<= {most}: {'reached' if value <= most else 'MISSED'})")
    print("accepted to row: " + ", ".join(
        f"p{100 * q:g} <= {bucket_of_quantile(row_delays, q) * 1000:g} ms" for q in (0.5, 0.95, 0.99)))
    print(f"checked: {accepted} accepted = {rows} rows of a stock of {STOCK_FOR_ALL}; {reads} reads = {reads} views; 0 errors")
    print(f"written: {path.relative_to(ROOT)}")


def generator_commands(options, http, admin):
    """The command of each scenario, and how to read the number of accepted claims from its summary."""
    if options.generator == "k6":
        k6 = shutil.which("k6")
        if k6 is None:
            raise Failed("there is no k6 on the PATH")
        settings = ["-e", f"BASE_URL=http://{http}", "-e", f"ADMIN_URL=http://{admin}", "-e", f"STOCK={options.stock}",
                    "-e", f"SHORT={int(options.short)}", "-e", f"THINK={int(not options.no_think)}",
                    "-e", f"RATE={options.rate}"]
        scripts = {"coupon": "scenario1-coupon-issue.js", "popular-products": "scenario2-popular-products.js"}
        commands = {name: [k6, "run", "--quiet", *settings, str(ROOT / "bench" / "k6" / script)]
                    for name, script in scripts.items()}
        return commands, lambda summary: int(summary["metrics"]["coupon_accepted"]["values"]["count"])

    binary = ROOT / "build" / "go-tools" / "ecom-scenario"
    subprocess.run(["go", "build", "-trimpath", "-o", str(binary), "./scenario"], cwd=ROOT / "bench", check=True)
    settings = [f"-base-url=http://{http}", f"-admin-url=http://{admin}", f"-stock={options.stock}",
                f"-rate={options.rate}"]
    settings += ["-short"] if options.short else []
    settings += ["-think=false"] if options.no_think else []
    commands = {name: [str(binary), *settings, name] for name in ("coupon", "popular-products")}
    return commands, lambda summary: summary["outcomes"]["accepted"]["count"]


def measure_scenarios(options, start):
    """Both scenarios against what `start` starts: server and gateway of a data folder of their own."""
    http, grpc, admin, gateway_admin = harness.free_addresses(4)
    commands, accepted_in = generator_commands(options, http, admin)
    summaries, usage, failed = {}, {}, []
    with harness.data_folder() as folder, harness.BACKENDS[options.backend](folder) as store:
        environment = {**store.environment, "HTTP_ADDR": http, "GRPC_ADDR": grpc, "ADMIN_ADDR": admin,
                       "GATEWAY_ADMIN_ADDR": gateway_admin, "COUPON_STOCK": str(options.stock)}
        with harness.Process(start, environment, folder / "run.log") as process:
            ready_after = process.wait_ready(f"http://{gateway_admin}/health/ready")
            pids = {name: pid for name, pid in harness.descendants(process.pid).items()
                    if name in ("ecom-server", "ecom-gateway")}
            if len(pids) != 2:
                raise Failed(f"below {shlex.join(start)} there are {sorted(pids)}, not a server and a gateway")
            for name, command in commands.items():
                with harness.Sampler({**pids, **store.pids()}) as sampler:
                    done = subprocess.run(command, cwd=folder, stdout=sys.stderr)
                summary = folder / f"summary-{name}.json"
                if not summary.exists():
                    raise Failed(f"{shlex.join(command)} exited with {done.returncode} and left no summary")
                summaries[name], usage[name] = json.loads(summary.read_text()), sampler.usage
                failed += [f"{name}: {t.get('metric', '')} {t['rule']}".replace("  ", " ")
                           for t in summaries[name]["thresholds"] if not t["ok"]]
            accepted = accepted_in(summaries["coupon"])
            harness.check_rows(store, accepted)
            row_delays = harness.histogram(f"http://{admin}/metrics", "coupon_queue_to_row_seconds")
            process.stop()
        rows = harness.check_rows(store, accepted)
    if rows != options.stock and not options.rate:
        raise Failed(f"{rows} of {options.stock} units were issued: the load has to sell out")
    return {"generator": f"{options.generator}, on the same machine", "stock": options.stock, "accepted": accepted,
            "rows": rows, "accepted_to_row_seconds": row_delays, "ready_after_seconds": round(ready_after, 2), "usage": usage,
            "commands": {name: as_typed(command) for name, command in commands.items()}, "summaries": summaries,
            "failed_thresholds": failed}


def scenarios(options):
    subprocess.run(["make", "build"], cwd=ROOT, check=True)
    around = harness.surroundings(options.backend)
    measured = measure_scenarios(options, ["make", "run"])
    failed, rows, row_delays = measured["failed_thresholds"], measured["rows"], measured["accepted_to_row_seconds"]
    result = {**around, "benchmark": "scenarios", "command": shlex.join(["bench/run.py", *sys.argv[1:]]), **measured}
    path = harness.store(f"{options.backend}-scenarios", result)
    print(harness.shown(around))
    for name, processes in measured["usage"].items():
        for process_name, used in processes.items():
            print(f"{name}: {process_name} {used['rss_peak_mib']} MiB at most, {used['cpu_cores']} cores")
    print("accepted to row: " + ", ".join(
        f"p{100 * q:g} <= {bucket_of_quantile(row_delays, q) * 1000:g} ms" for q in (0.5, 0.95, 0.99)))
    print(f"checked: {measured['accepted']} accepted = {rows} rows of a stock of {options.stock}; `make run` was ready after "
          f"{measured['ready_after_seconds']:.2f} s")
    print(f"written: {path.relative_to(ROOT)}")
    if failed:
        raise Failed("thresholds failed: " + "; ".join(failed))


def scenarios_of_kit(options):
    """Both scenarios, with think time and without. Without building: what was measured before is measured here."""
    if options.bin != RELEASE:
        raise Failed(f"compose/local/run knows only {RELEASE}")
    content = {"summaries": {}, "usage": {}, "figures": [], "accepted": 0, "rows": 0}
    for variant, no_think in (("think time", False), ("no think time", True)):
        wanted = argparse.Namespace(backend=options.backend, short=options.short, no_think=no_think, rate=0, stock=1000,
                                    generator="ecom-scenario")
        measured = measure_scenarios(wanted, [str(ROOT / "compose" / "local" / "run")])
        for name in measured["summaries"]:
            content["summaries"][f"{name}, {variant}"] = measured["summaries"][name]
            content["usage"][f"{name}, {variant}"] = measured["usage"][name]
        content["generator"] = measured["generator"]
        content["accepted"] += measured["accepted"]
        content["rows"] += measured["rows"]
    return {**content, "stock": 1000, "ledger": "clean"}


def draw(script, *arguments):
    """Runs a script of report/ by Debian's own Python: it is the one that has Debian's matplotlib."""
    subprocess.run(["/usr/bin/python3", ROOT / "bench" / "report" / script, *arguments], check=True)


def run_kit(options):
    path, failed = kit.run(options, scenarios_of_kit)
    if options.report:
        draw("report.py", path)
    if failed:
        raise Failed("; ".join(failed))


def gate(options):
    """The load test that a change has to pass: 64 connections beside the empty Go server, and the run before."""
    wanted = argparse.Namespace(backend="embedded", parts=["rest"], connections=(64,), rounds=options.rounds, seconds=options.seconds,
                                warm_up=None, bin=options.bin)
    result = kit.measured(wanted, goals=GATE)
    options.out.mkdir(parents=True, exist_ok=True)
    before, now = options.out / "passed.json", options.out / "run.json"
    if before.exists():
        result["verdicts"] += against(json.loads(before.read_text()), result)
    harness.write(now, result)
    kit.show(result)
    draw("report.py", now, "--out", options.out)
    if before.exists():
        draw("compare.py", before, now, "--out", options.out)
    failed = result["failed_parts"] + [f"{v['what']} is {v['value']:g}, not {v['rule']}" for v in result["verdicts"] if not v["ok"]]
    if failed:
        raise Failed("the gate is closed: " + "; ".join(failed))
    shutil.copyfile(now, before)
    print("the gate is open")


# Nobody is refused before it is too late: the queues are bounded by their length only.
NO_WAIT_TARGET = "1m"


def overload(options):
    """The chaos trial of the same name, as it is and without admission control, where it must fail."""
    around = harness.surroundings("stack")
    written = ROOT / "build" / "test-logs" / "overload.json"
    command = ["go", "test", "./chaos", "-count=1", "-run", "TestChaos/F24"]
    result = {**around, "benchmark": "overload", "command": shlex.join(["bench/run.py", *sys.argv[1:]])}
    for name, target in (("with", ""), ("without", NO_WAIT_TARGET)):
        written.unlink(missing_ok=True)
        done = subprocess.run(command, cwd=ROOT / "tests", env={**os.environ, "OVERLOAD_WAIT_TARGET": target},
                              capture_output=True, text=True)
        if not written.exists() or (done.returncode != 0) != (name == "without"):
            raise Failed(f"the trial {name} admission control exited with {done.returncode}:\n{done.stdout}{done.stderr}")
        result[name] = json.loads(written.read_text())
        if not result[name]["ledger_clean"]:
            raise Failed(f"the ledger does not balance {name} admission control")
    path = harness.store("overload", result)
    print(harness.shown(around))
    for name in ("with", "without"):
        found = result[name]
        print(f"{name:7} admission control: goodput {found['goodput_share']:.2f} of {found['capacity_per_second']}/s; refused p50 "
              f"{found['shed_p50_ms']:.2f}, p95 {found['shed_p95_ms']:.2f} ms; accepted p50 {found['accepted_p50_ms']:.0f}, p95 "
              f"{found['accepted_p95_ms']:.0f} ms; RSS {found['rss_before_mib']:.0f}, at most {found['rss_max_mib']:.0f} MiB; normal after "
              f"{found['recovery_ms'] / 1000:.1f} s; ledger clean")
    print(f"written: {path.relative_to(ROOT)}")
    # Debian's own Python: it is the one that has Debian's matplotlib.
    draw("overload.py", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    for backend in harness.BACKENDS:
        part = commands.add_parser(backend, help=f"the server alone on the {backend} backend, over gRPC")
        part.add_argument("--rounds", type=int, default=5)
        part.add_argument("--seconds", type=float, default=5, help="measured time of each method and round")
        part.add_argument("--callers", type=int, default=64)
        part.add_argument("--connections", type=int, default=4)
        part.add_argument("--threads", type=int, default=1, help="threads of the generator")
        part.set_defaults(run=server_alone, backend=backend)

    part = commands.add_parser("scenarios", help="both scenarios against `make run`")
    part.add_argument("--short", action="store_true", help="15 s each")
    part.add_argument("--no-think", action="store_true", help="without think time")
    part.add_argument("--rate", type=int, default=0, help="open model: requests a second")
    part.add_argument("--stock", type=int, default=1000)
    part.add_argument("--backend", choices=harness.BACKENDS, default="embedded")
    part.add_argument("--generator", choices=("ecom-scenario", "k6"), default="ecom-scenario",
                      help="k6: the one on the PATH")
    part.set_defaults(run=scenarios)

    part = commands.add_parser("kit", help="REST, gRPC, open model, growth and scenarios beside the limits, in one run")
    part.add_argument("--backend", choices=harness.BACKENDS, default="embedded")
    part.add_argument("--parts", type=lambda text: text.split(","), default=[*kit.PARTS, "scenarios"],
                      help="comma-separated, of " + ",".join([*kit.PARTS, "scenarios"]))
    part.add_argument("--connections", type=lambda text: [int(n) for n in text.split(",")], default=list(kit.CONNECTIONS),
                      help="of the rest part")
    part.add_argument("--rounds", type=int, default=5)
    part.add_argument("--seconds", type=float, default=5, help="measured time of each leg")
    part.add_argument("--warm-up", type=int, help="seconds of load after each start, not measured; default 1, on the stack 30")
    part.add_argument("--stocks", type=lambda text: [int(n) for n in text.split(",")], default=list(kit.STOCKS),
                      help="of the coupons of the growth part")
    part.add_argument("--short", action="store_true", help="the scenarios in 15 s")
    part.add_argument("--bin", type=lambda text: pathlib.Path(text).resolve(), default=RELEASE, help="where the binaries are")
    part.add_argument("--no-report", dest="report", action="store_false", help="the JSON only")
    part.set_defaults(run=run_kit)

    part = commands.add_parser("gate", help="short, on the embedded backend; exit code 1 below what a change must reach")
    part.add_argument("--rounds", type=int, default=3)
    part.add_argument("--seconds", type=float, default=2, help="measured time of each leg")
    part.add_argument("--bin", type=lambda text: pathlib.Path(text).resolve(), default=RELEASE, help="where the binaries are")
    part.add_argument("--out", type=lambda text: pathlib.Path(text).resolve(), default=ROOT / "build" / "load-gate",
                      help="for run.json, the report, and passed.json, the last run that passed: this one is compared with it")
    part.set_defaults(run=gate)

    part = commands.add_parser("overload", help="ten times what the gate takes, on the stack, with and without admission control")
    part.set_defaults(run=overload)

    options = parser.parse_args()
    unknown = set(getattr(options, "parts", [])) - {*kit.PARTS, "scenarios"}
    if unknown or getattr(options, "rounds", 1) < 1 or not 0 < getattr(options, "seconds", 1) <= 600:
        parser.error(f"no such parts: {', '.join(sorted(unknown))}" if unknown else "at least one round, of up to 600 s")
    try:
        options.run(options)
    except (Failed, subprocess.CalledProcessError) as error:
        print(f"bench/run.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
