#!/usr/bin/env python3
"""Tells what a change of the server costs: two builds of ecom-server side by side, asked in turn.

    bench/ab.py BEFORE AFTER [--rounds 7] [--seconds 4]

Each has a data folder, an embedded store and a gateway (of this build) of its own. A round has each kind of load once
for either server, with who comes first changing; copies of products in the gateway are off, so each read comes to the
server. On a machine where others work calls a second say little: what counts is the server's CPU time for a call, its
ratio within a round, and the least that was seen, as others only ever add to it.

Prints a line of JSON for each kind: medians of the rounds, and of ratios the least, the median and the most.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys

sys.dont_write_bytecode = True
import harness
from harness import Failed, ROOT

REST = ROOT / "build" / "go-tools" / "ecom-bench-rest"
GRPC = ROOT / "build" / "release" / "bin" / "ecom-bench-grpc"
STOCK = 50_000_000
USERS_PER_LEG = 100_000_000
RIGHT = ("OK", "200", "200 QUEUED")


class Product:
    def __init__(self, server, folder):
        self.http, self.grpc, admin, self.gateway_admin = harness.free_addresses(4)
        folder.mkdir()
        self._process = harness.Process([str(ROOT / "compose" / "local" / "run")], {
            "ECOM_SERVER_BINARY": os.path.abspath(server), "BACKEND": "embedded", "DATA_DIR": str(folder / "data"),
            "HTTP_ADDR": self.http, "GRPC_ADDR": self.grpc, "ADMIN_ADDR": admin,
            "GATEWAY_ADMIN_ADDR": self.gateway_admin, "COUPON_STOCK": str(STOCK), "ECOM_PRODUCT_COPY_AGE_MAX": "0"}, folder / "log")

    def __enter__(self):
        with contextlib.ExitStack() as stack:  # nothing is left behind of a start that fails
            process = stack.enter_context(self._process)
            process.wait_ready(f"http://{self.gateway_admin}/health/ready")
            children = harness.descendants(process.pid)
            self._server = next(pid for name, pid in children.items() if name.startswith("ecom-server"))
            self._running = stack.pop_all()
        return self

    def __exit__(self, *error):
        self._running.__exit__(*error)

    def leg(self, kind, number, seconds):
        """(calls a second, µs of the server's CPU for a call)"""
        method, carrier = kind
        common = [f"--method={method}", f"--seconds={seconds}"]
        first_user = 1 + number * USERS_PER_LEG
        command = {"lane": [str(REST), f"--address={self.http}", f"--user-base={first_user}", "--connections=64"],
                   "unary": [str(GRPC), f"--target={self.grpc}", f"--user_base={first_user}", "--callers=64"]}
        before = harness.cpu_seconds(self._server)
        done = subprocess.run(command[carrier] + common, capture_output=True, text=True)
        used = harness.cpu_seconds(self._server) - before
        if done.returncode != 0:
            raise Failed(f"{done.args}: {done.stderr}")
        report = json.loads(done.stdout)
        wrong = {code: count for code, count in report["total_by_code"].items() if code not in RIGHT}
        if wrong:
            raise Failed(f"{kind}: {wrong}")
        calls = sum(report["total_by_code"].values())
        return report["calls_per_second"], 1e6 * used / calls


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=4)
    options = parser.parse_args()
    kinds = [("get-product", "unary"), ("get-product", "lane"), ("issue-coupon", "lane")]
    found = {kind: {"before": [], "after": []} for kind in kinds}
    with harness.data_folder() as folder, contextlib.ExitStack() as stack:
        products = {name: stack.enter_context(Product(getattr(options, name), folder / name))
                    for name in ("before", "after")}
        for number in range(options.rounds + 1):
            for kind in kinds:
                for name in sorted(products, reverse=number % 2 == 0):
                    leg = products[name].leg(kind, number, options.seconds)
                    if number > 0:  # the first round warms up
                        found[kind][name].append(leg)
    load = [round(average, 1) for average in os.getloadavg()]
    print(json.dumps({"rounds": options.rounds, "seconds": options.seconds, "load": load}))
    for (method, carrier), legs in found.items():
        line = {"method": method, "by": carrier}
        for i, what in enumerate(("calls_per_second", "server_us_per_call")):
            for name in legs:
                line[f"{what}_{name}"] = round(statistics.median(leg[i] for leg in legs[name]), 2)
                if i == 1:
                    line[f"{what}_{name}_least"] = round(min(leg[i] for leg in legs[name]), 2)
            ratios = [after[i] / before[i] for before, after in zip(legs["before"], legs["after"])]
            line[f"{what}_ratio"] = [round(f(ratios), 4) for f in (min, statistics.median, max)]
        print(json.dumps(line))


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"ab.py: {error}")
