"""The bench kit: what the product reaches beside the limits of the machine, in one run.

Each *part* (rest, grpc, open, growth, scenarios) has a server, a gateway and a data folder of its own and
ends with its ledger; a part whose ledger is not clean has no figures, and the run fails.
"""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request

import figures
import harness
from harness import Failed, ROOT

# More users than this a leg cannot ask at any speed that one machine reaches. A leg has a range for itself.
USERS_PER_LEG = 100_000_000
# So that every claim is accepted: refusals are cheaper, and another figure.
STOCK_FOR_ALL = 50_000_000
COUPON = 1
# Of the sample data: 5 units. Sold out, it refuses everybody else.
COUPON_SOLD_OUT, UNITS_OF_SOLD_OUT = 2, 5
# Who holds a unit already: they ask again, in turn.
HOLDERS = 1000
CONNECTIONS = (1, 64, 256)
RATES = (500, 1000, 2000, 5000)
# Requests of the open model that may wait for their answers; those beyond are sent late, and count as slow.
OPEN_CONNECTIONS = 256
GRPC_CALLERS, GRPC_CONNECTIONS = 64, 4
STOCKS = (1_000, 10_000, 100_000, 1_000_000)
FIRST_GROWN_COUPON = 1000
# Left out of each leg, at its beginning.
WARM_UP_SECONDS_MAX = 1
# Once after each start: a cold Kafka halves everything for half a minute.
FIRST_WARM_UP_SECONDS = {"embedded": 1, "stack": 30}
# A coupon of a new row is found within a second; its gate is armed by the first claim, or by the next pass.
OFFER_SECONDS_MAX = 15


class Binaries:
    """The programs of a run: the product's and the clients'."""

    def __init__(self, folder):
        tools = ROOT / "build" / "go-tools"
        self.server, self.gateway = folder / "ecom-server", folder / "ecom-gateway"
        self.grpc_client, self.grpc_limit = folder / "ecom-bench-grpc", folder / "ecom-bench-echo"
        self.rest_client, self.rest_limit = tools / "ecom-bench-rest", tools / "ecom-limit-rest"
        missing = [str(path) for path in vars(self).values() if not path.exists()]
        if missing:
            raise Failed(f"not built: {', '.join(missing)}; `make bench-build` builds them")


class Product:
    """Server and gateway on a backend, and all that is counted while they are loaded."""

    def __init__(self, binaries, store, folder, stock):
        self.binaries, self.store, self.folder = binaries, store, folder
        self.http, self.grpc, self.admin, self.gateway_admin = harness.free_addresses(4)
        self.environment = {**store.environment, "HTTP_ADDR": self.http, "GRPC_ADDR": self.grpc, "ADMIN_ADDR": self.admin,
                            "GATEWAY_ADMIN_ADDR": self.gateway_admin, "ECOM_SAMPLE_DATA": "true",
                            "COUPON_STOCK": str(stock), "TZ": "Asia/Seoul"}
        self.accepted, self.reads, self.legs = {}, 0, 0

    @contextlib.contextmanager
    def running(self):
        """Started directly, not by `make run`: that gives each a session of its own, which Linux may schedule
        apart from the limit's."""
        with harness.Process([str(self.binaries.server)], self.environment, self.folder / "server.log") as server:
            server.wait_ready(f"http://{self.admin}/health/ready")
            with harness.Process([str(self.binaries.gateway)], self.environment, self.folder / "gateway.log") as gateway:
                gateway.wait_ready(f"http://{self.gateway_admin}/health/ready")
                self.pids = {"ecom-server": server.pid, "ecom-gateway": gateway.pid, **self.store.pids()}
                yield self
                self.check()
                gateway.stop()
                server.stop()
        self.check()
        harness.check_views(self.store, self.reads)

    def check(self):
        """The ledger: what was promised is a row, and nothing else is."""
        for coupon, accepted in self.accepted.items():
            harness.check_rows(self.store, accepted, coupon)

    def row_delays(self):
        return harness.histogram(f"http://{self.admin}/metrics", "coupon_queue_to_row_seconds")

    def count(self, kind, coupon, report):
        """Notes what an answer has promised. Any answer but those expected fails the part."""
        accepted = report["outcomes"]["accepted"]["total"]
        if kind == "get-product":
            self.reads += accepted
        elif accepted:
            self.accepted[coupon] = self.accepted.get(coupon, 0) + accepted

    def users(self):
        """The first user of a range that nobody has asked for."""
        self.legs += 1
        return 1 + self.legs * USERS_PER_LEG


def as_typed(command):
    """A command as a person types it in the checkout, wherever that is."""
    return shlex.join(map(str, command)).replace(f"{ROOT}/", "")


def load(command, wanted, may_shed=False):
    """Runs a client. Answers other than `wanted` fail the part."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{as_typed(command)} exited with {done.returncode}: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    wrong = figures.unexpected(report, wanted, may_shed)
    if wrong:
        raise Failed(f"{as_typed(command)}: not only {wanted}: {wrong} {done.stderr.strip()}")
    if not report["outcomes"][wanted]["measured"]:
        raise Failed(f"{as_typed(command)}: no answer in the measured time")
    return report


def measure(command, pids, **leg):
    """One leg: the client's report and what each process used meanwhile."""
    client_before = children_cpu_seconds()
    began = time.monotonic()
    with harness.Sampler(pids) as sampler:
        report = load(command, leg["outcome"], may_shed=bool(leg.get("rate")))
    client = (children_cpu_seconds() - client_before) / (time.monotonic() - began)
    return {**leg, "command": as_typed(command), "report": report,
            "usage": {**sampler.usage, "load client": {"cpu_cores": round(client, 2)}}}


def children_cpu_seconds():
    used = os.times()
    return used.children_user + used.children_system


class Kit:
    """One run: its options, its programs, its limits."""

    def __init__(self, options):
        self.options = options
        self.binaries = Binaries(options.bin)
        self.warm_up = min(WARM_UP_SECONDS_MAX, options.seconds / 4)
        self.first_warm_up = FIRST_WARM_UP_SECONDS[options.backend] if options.warm_up is None else options.warm_up
        self.progress = sys.stderr

    def say(self, text):
        print(f"{time.strftime('%H:%M:%S')} {text}", file=self.progress, flush=True)

    @contextlib.contextmanager
    def product(self, stock=STOCK_FOR_ALL):
        backend = harness.BACKENDS[self.options.backend]
        with harness.data_folder() as folder, backend(folder) as store:
            with Product(self.binaries, store, folder, stock).running() as product:
                yield product

    @contextlib.contextmanager
    def rest_limit(self):
        """The empty Go server."""
        (address,) = harness.free_addresses(1)
        with harness.data_folder() as folder:
            with harness.Process([str(self.binaries.rest_limit), f"-addr={address}"], {}, folder / "limit.log") as process:
                process.wait_ready(f"http://{address}/")
                yield address, {"limit": process.pid}
                process.stop()

    @contextlib.contextmanager
    def grpc_limit(self):
        """The echo server. The client waits for its connections, so nobody has to ask whether it is ready."""
        (address,) = harness.free_addresses(1)
        with harness.data_folder() as folder:
            with harness.Process([str(self.binaries.grpc_limit), f"--address={address}"], {}, folder / "limit.log") as process:
                yield address, {"limit": process.pid}
                process.stop()

    def rest_command(self, address, method, **flags):
        flags = {"connections": 64, "seconds": f"{self.options.seconds:g}", "warm-up-seconds": f"{self.warm_up:g}", **flags}
        return [str(self.binaries.rest_client), f"-address={address}", f"-method={method}",
                *(f"-{name}={value}" for name, value in flags.items())]

    def limit_leg(self, limit, number, connections, **flags):
        address, pids = limit
        command = self.rest_command(address, "fixed", connections=connections, **flags)
        return measure(command, pids, kind="fixed", target="limit", round=number, connections=connections,
                       outcome="accepted", **{k: v for k, v in flags.items() if k == "rate"})

    def product_leg(self, product, kind, number, connections, **flags):
        coupon = COUPON_SOLD_OUT if kind == "sold-out" else COUPON
        method = kind if kind == "get-product" else "issue-coupon"
        outcome = {"sold-out": "sold_out", "duplicate": "duplicate"}.get(kind, "accepted")
        if kind == "get-product":
            flags["seed"] = number + 1
        else:
            flags |= {"coupon-id": coupon, "user-base": 1, "users": HOLDERS}
            if kind != "duplicate":
                flags |= {"user-base": product.users(), "users": 0}
        before = product.row_delays() if kind == "issue-coupon" else None
        command = self.rest_command(product.http, method, connections=connections, **flags)
        leg = measure(command, product.pids, kind=kind, target="product", round=number, connections=connections,
                      limit="fixed", outcome=outcome, **{k: v for k, v in flags.items() if k == "rate"})
        product.count(kind, coupon, leg["report"])
        if before is not None:
            leg["lag"] = self.lag(product, before, leg["report"]["outcomes"]["accepted"]["total"])
        return leg

    def lag(self, product, before, claims):
        """The delays of this leg's claims, once all of them are rows."""
        deadline = time.monotonic() + harness.DRAIN_SECONDS_MAX
        while True:
            seen = figures.difference(product.row_delays(), before)
            if seen["+Inf"] == claims:
                return seen
            if seen["+Inf"] > claims or time.monotonic() > deadline:
                raise Failed(f"{claims} claims were accepted, and {seen['+Inf']} were recorded")
            time.sleep(0.05)

    def warm(self, product):
        """Loads a server that was just started, and measures nothing."""
        if self.first_warm_up:
            flags = {"coupon-id": COUPON, "user-base": product.users(), "seconds": self.first_warm_up, "warm-up-seconds": 0}
            product.count("issue-coupon", COUPON, load(self.rest_command(product.http, "issue-coupon", **flags), "accepted"))
            harness.check_rows(product.store, product.accepted[COUPON], COUPON)

    def prepare(self, product):
        """Sells one coupon out, and lets the holders hold the other one."""
        for coupon, users in ((COUPON_SOLD_OUT, UNITS_OF_SOLD_OUT), (COUPON, HOLDERS)):
            flags = {"coupon-id": coupon, "user-base": 1, "requests": users, "connections": 1}
            product.count("issue-coupon", coupon, load(self.rest_command(product.http, "issue-coupon", **flags), "accepted"))
        self.warm(product)

    def rest(self):
        """Ceilings over REST: as many requests as the connections can make, beside the empty Go server."""
        legs = []
        with self.product() as product, self.rest_limit() as limit:
            self.prepare(product)
            for number in range(self.options.rounds):
                self.say(f"rest: round {number + 1} of {self.options.rounds}")
                for connections in self.options.connections:
                    legs.append(self.limit_leg(limit, number, connections))
                    for kind in ("get-product", "issue-coupon", "sold-out", "duplicate"):
                        legs.append(self.product_leg(product, kind, number, connections))
        return {"generator": "ecom-bench-rest, closed loop", "figures": figures.sum_up(legs), "legs": legs, **counts(product)}

    def open(self):
        """So many requests a second, come what may, beside the empty Go server at the same rate."""
        legs = []
        with self.product() as product, self.rest_limit() as limit:
            self.prepare(product)
            for number in range(self.options.rounds):
                self.say(f"open: round {number + 1} of {self.options.rounds}")
                for rate in RATES:
                    legs.append(self.limit_leg(limit, number, OPEN_CONNECTIONS, rate=rate))
                    for kind in ("get-product", "issue-coupon"):
                        legs.append(self.product_leg(product, kind, number, OPEN_CONNECTIONS, rate=rate))
        return {"generator": "ecom-bench-rest, open model", "figures": figures.sum_up(legs), "legs": legs, **counts(product)}

    def grpc(self):
        """The server without the gateway, beside the echo server."""
        legs = []
        with self.product() as product, self.grpc_limit() as (limit, limit_pids):
            self.warm(product)
            for number in range(self.options.rounds):
                self.say(f"grpc: round {number + 1} of {self.options.rounds}")
                for kind in ("get-product", "issue-coupon"):
                    for target in ("limit", "product"):
                        address, pids = (limit, limit_pids) if target == "limit" else (product.grpc, product.pids)
                        command = [str(self.binaries.grpc_client), f"--target={address}", f"--method={kind}",
                                   f"--callers={GRPC_CALLERS}", f"--connections={GRPC_CONNECTIONS}",
                                   f"--seconds={self.options.seconds:g}", f"--warm_up_seconds={self.warm_up:g}",
                                   f"--seed={number}", f"--user_base={product.users()}"]
                        leg = measure(command, pids, kind=kind, target=target, round=number, connections=GRPC_CALLERS,
                                      outcome="accepted", **({"limit": kind} if target == "product" else {}))
                        if target == "product":
                            product.count(kind, COUPON, leg["report"])
                        legs.append(leg)
        return {"generator": "ecom-bench-grpc", "figures": figures.sum_up(legs), "legs": legs, **counts(product)}

    def growth(self):
        """Coupons of more and more units, each issued to the last one: what a participant costs in time and memory."""
        legs, memory, coupon, accepted = [], {}, FIRST_GROWN_COUPON, 0
        with self.product() as product:
            self.warm(product)
            for number in range(self.options.rounds):
                for stock in self.options.stocks:
                    self.say(f"growth: round {number + 1} of {self.options.rounds}, stock {stock:,}")
                    product.store.offer(coupon, stock)
                    self.wait_for(product, coupon)
                    # The first one has opened the gate.
                    flags = {"coupon-id": coupon, "user-base": 2, "requests": stock - 1}
                    leg = measure(self.rest_command(product.http, "issue-coupon", **flags), product.pids, kind="sell-out",
                                  target="product", round=number, connections=64, stock=stock, outcome="accepted")
                    product.count("issue-coupon", coupon, leg["report"])
                    harness.check_rows(product.store, product.accepted[coupon], coupon)
                    cost = product.store.participants(coupon)
                    if cost is not None:
                        leg["participants"] = cost
                        memory.setdefault(stock, []).append(cost["bytes"] / cost["count"])
                    legs.append(leg)
                    # What was checked is checked; the whole would take longer each time.
                    accepted += product.accepted.pop(coupon)
                    coupon += 1
        found = figures.sum_up(legs)
        return {"generator": "ecom-bench-rest, closed loop until sold out", "figures": [*found, figures.growth(found, memory)],
                "legs": legs, "accepted": accepted, "rows": accepted, "ledger": "clean"}

    def wait_for(self, product, coupon):
        """User 1 asks for the new coupon until the answer is no longer that there is none."""
        deadline = time.monotonic() + OFFER_SECONDS_MAX
        while True:
            request = urllib.request.Request(f"http://{product.http}/coupons/{coupon}/issue", method="POST", headers={"userId": "1"})
            try:
                with urllib.request.urlopen(request, timeout=5):
                    product.accepted[coupon] = 1
                    return
            except urllib.error.HTTPError as error:
                # Not there yet, or its gate is not open yet: neither has taken anything.
                if error.code not in (404, 503) or time.monotonic() > deadline:
                    raise Failed(f"coupon {coupon}: {error.code} {error.read().decode(errors='replace')}") from None
            time.sleep(0.1)


def counts(product):
    return {"accepted": sum(product.accepted.values()), "rows": sum(product.accepted.values()), "reads": product.reads,
            "views": product.reads, "ledger": "clean"}


PARTS = ("rest", "grpc", "open", "growth")


def run(options, scenarios):
    """Measures, writes the JSON and returns its path, and which parts broke off."""
    result = measured(options, scenarios)
    path = harness.store(f"{options.backend}-kit", result)
    show(result)
    print(f"written: {path.relative_to(ROOT)}")
    return path, result["failed_parts"]


def measured(options, scenarios=None, goals=figures.GOALS):
    """Runs the parts one after the other. `scenarios` measures the scenarios: {"summaries": …}. `failed_parts` of
    what it returns says which part broke off, and why."""
    kit = Kit(options)
    result = {**harness.surroundings(options.backend), "benchmark": "kit", "command": as_typed([sys.argv[0], *sys.argv[1:]]),
              "seconds": options.seconds, "rounds": options.rounds, "warm_up_seconds": kit.warm_up, "first_warm_up_seconds": kit.first_warm_up,
              "stock": STOCK_FOR_ALL, "load_average": os.getloadavg()[0], "parts": {}}
    failed = []
    for part in options.parts:
        began = time.monotonic()
        try:
            content = scenarios(options) if part == "scenarios" else getattr(kit, part)()
        except (Failed, subprocess.CalledProcessError) as error:
            failed.append(f"{part}: {error}")
            kit.say(f"{part} FAILED, its figures are thrown away: {error}")
            content = {"failed": str(error), "figures": []}
        result["parts"][part] = {**content, "took_seconds": round(time.monotonic() - began, 1)}
    result["verdicts"] = figures.judge(result["parts"], options.backend, goals)
    result["failed_parts"] = failed
    return result


def show(result):
    """The figures for a person, in a terminal."""
    print(harness.shown(result))
    print(f"{result['command']}: {result['rounds']} rounds of {result['seconds']:g} s; load client on the same cores; "
          f"load average before it {result['load_average']:.2f}")
    for part, content in result["parts"].items():
        if content.get("failed"):
            print(f"\n{part}: FAILED, no figures: {content['failed']}")
            continue
        print(f"\n{part}: {content.get('generator', '')}; ledger clean")
        rows = [f for f in content.get("figures", []) if f["kind"] != "grown"]
        if rows:
            print(f"  {'':28}{'/s':>9} {'min..max':>17} {'of limit':>8} {'p50':>8} {'p95':>8} {'p99':>8} {'p99.9':>8} {'max':>8} ms")
        for f in rows:
            print("  " + line(f))
        for name, summary in content.get("summaries", {}).items():
            print(f"  {name}: {summary_line(summary)}")
        for f in content.get("figures", []):
            if f["kind"] == "grown":
                print(f"  slowest over fastest stock {f['per_second_least_to_most']}; bytes a participant "
                      f"{f.get('bytes_per_participant_by_stock', 'not measured: no Redis')}")
    print()
    for verdict in result["verdicts"]:
        print(f"  {'reached' if verdict['ok'] else 'MISSED '} {verdict['part']}: {verdict['what']} {verdict['value']:g} {verdict['rule']}")


def line(f):
    name = f["kind"] + (" (limit)" if f["target"] == "limit" else "")
    name += f" {f['rate']}/s" if f.get("rate") else f" stock {f['stock']}" if f.get("stock") else f" c={f['connections']}"
    rate, ratio = f["per_second"], f.get("ratio", {}).get("per_second")
    outcome = f["outcomes"][f["outcome"]]
    errors = f["outcomes"].get("error", {}).get("measured", 0)
    return (f"{name:28}{rate['median']:>9,.0f} {rate['min']:>8,.0f}..{rate['max']:<7,.0f} "
            f"{'' if ratio is None else format(ratio['median'], '.2f'):>8} "
            + " ".join(f"{outcome[key]['median']:>8.3f}" for key in figures.LATENCIES)
            + ("" if "lag" not in f else f"  row p99 <= {f['lag']['p99_ms_at_most']:g} ms")
            + (f"  {errors} REFUSED (503)" if errors else ""))


def summary_line(summary):
    latency = summary.get("latency", {})
    return (f"{summary.get('variant', '')}: {summary.get('requests_per_second', 0):.1f}/s, p50 {latency.get('p50_ms')} "
            f"p95 {latency.get('p95_ms')} p99 {latency.get('p99_ms')} p99.9 {latency.get('p99_9_ms')} max {latency.get('max_ms')} ms")
