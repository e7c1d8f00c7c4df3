"""Starts the product for a measurement, watches it, and looks into what it stored."""

import contextlib
import datetime
import json
import os
import pathlib
import platform
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
# Builds are long; a start is not. A drain that takes longer than this hangs.
READY_SECONDS_MAX = 30
STOP_SECONDS_MAX = 30
DRAIN_SECONDS_MAX = 30
SAMPLE_SECONDS = 0.1


class Failed(Exception):
    """The run proves nothing: what went wrong, for a person."""


def free_addresses(count):
    """Loopback addresses that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return addresses


def low_addresses(count):
    """The same, below the ports of outgoing connections; 10000 above each is free as well, for Kafka's controller."""
    addresses = []
    for port in random.sample(range(10240, 20000), 1000):
        if len(addresses) == count:
            break
        try:
            for taken in (port, port + 10000):
                socket.create_server(("127.0.0.1", taken)).close()
        except OSError:
            continue
        addresses.append(f"127.0.0.1:{port}")
    return addresses


@contextlib.contextmanager
def data_folder():
    """A new DATA_DIR below build/: on the disk of the checkout, as /tmp may be memory, where an fsync costs nothing."""
    parent = ROOT / "build" / "bench"
    parent.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class Process:
    """A child in a process group of its own, that is told to stop when the block ends. Not in a session of
    its own: Linux schedules sessions against each other, and on two cores that halves what a server and
    its client reach together."""

    def __init__(self, command, environment, log):
        self.command = command
        self._log_path = log
        with open(log, "wb") as out:
            self._child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=out,
                                           stderr=subprocess.STDOUT, process_group=0)
        self.pid = self._child.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A child that died may have left children of its own in the group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._child.wait()

    def wait_ready(self, url):
        """Waits until `url` answers 200."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        began = time.monotonic()
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                raise Failed(f"{self.command[0]} exited with {self._child.returncode}:\n{self.log_tail()}")
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    if answer.status == 200:
                        return time.monotonic() - began
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.02)
        raise Failed(f"{url} was not ready within {READY_SECONDS_MAX} s:\n{self.log_tail()}")

    def stop(self):
        """SIGTERM, and a clean exit within the bound."""
        self._child.terminate()
        try:
            code = self._child.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.command[0]} did not stop within {STOP_SECONDS_MAX} s of SIGTERM") from None
        if code != 0:
            raise Failed(f"{self.command[0]} exited with {code} on SIGTERM:\n{self.log_tail()}")

    def log_tail(self):
        return self._log_path.read_text(errors="replace")[-2000:]


def descendants(pid):
    """{name: pid} of a process and everything below it."""
    parents, names = {}, {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        # The name stands in parentheses and may hold spaces.
        name, rest = stat[stat.index("(") + 1:stat.rindex(")")], stat[stat.rindex(")") + 2:].split()
        parents[int(entry.name)], names[int(entry.name)] = int(rest[1]), name
    found = {}
    for child in parents:
        ancestor = child
        while ancestor not in (0, pid):
            ancestor = parents.get(ancestor, 0)
        if ancestor == pid:
            found[names[child]] = child
    return found


def memory_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise Failed(f"process {pid} has no memory: it is gone")


def cpu_seconds(pid):
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    fields = stat[stat.rindex(")") + 2:].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Sampler:
    """Watches memory and CPU time of processes while its block runs."""

    def __init__(self, pids):
        self._pids = pids
        self._peak = {name: 0.0 for name in pids}
        self._stop = threading.Event()
        self._error = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._began = time.monotonic()
        self._cpu = {name: cpu_seconds(pid) for name, pid in self._pids.items()}
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise Failed(f"a watched process is gone: {self._error}")
        elapsed = time.monotonic() - self._began
        try:
            used = {name: cpu_seconds(pid) - self._cpu[name] for name, pid in self._pids.items()}
        except OSError as error:
            raise Failed(f"a watched process is gone: {error}") from None
        self.usage = {name: {"rss_peak_mib": round(self._peak[name], 1), "cpu_cores": round(seconds / elapsed, 2)}
                      for name, seconds in used.items()}

    def _run(self):
        while True:
            try:
                for name, pid in self._pids.items():
                    self._peak[name] = max(self._peak[name], memory_mib(pid))
            except (OSError, Failed) as error:
                self._error = error
                return
            if self._stop.wait(SAMPLE_SECONDS):
                return


class Embedded:
    """The embedded backend, in a data folder of its own."""

    name = "embedded"

    def __init__(self, folder):
        self.environment = {"BACKEND": self.name, "DATA_DIR": str(folder / "data")}
        self._path = folder / "data" / "ecom.db"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def query(self, sql):
        """The first column of the first row of a query on the store."""
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=5)
        try:
            return connection.execute(sql).fetchone()[0]
        finally:
            connection.close()

    def pids(self):
        return {}

    def offer(self, coupon, stock):
        """Makes a coupon, as a person would: by a row."""
        now_us, day_us = time.time_ns() // 1000, 86_400_000_000
        connection = sqlite3.connect(self._path, timeout=5)
        try:
            with connection:
                connection.execute("INSERT INTO coupons (id, name, total_quantity, available_quantity, starts_at_us, ends_at_us)"
                                   " VALUES (?, ?, ?, ?, ?, ?)",
                                   (coupon, f"bench {stock}", stock, stock, now_us - day_us, now_us + day_us))
        finally:
            connection.close()

    def participants(self, coupon):
        """The gate is inside the server: nobody can ask what it takes."""
        return None

    def check_the_rest(self, rows, coupon):
        pass


class Stack:
    """Real Redis, Kafka and MariaDB, for one run, on ports of their own."""

    name = "stack"

    def __init__(self, folder):
        redis, kafka, mysql = low_addresses(3)
        self._folder = folder / "data"
        self.environment = {"BACKEND": self.name, "DATA_DIR": str(self._folder), "REDIS_URL": f"redis://{redis}",
                            "KAFKA_BROKERS": kafka, "MYSQL_URL": f"mysql://ecom:ecom@{mysql}/ecommerce"}

    def _run(self, what):
        command = [ROOT / "compose" / "local" / "stack", what]
        done = subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"stack {what}: {done.stdout}{done.stderr}")

    def __enter__(self):
        subprocess.run(["make", "build/setup-stack.stamp", "ledger"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        # A second try for a machine that was too busy for the first: nothing is measured yet.
        for last in (False, True):
            try:
                self._run("up")
                return self
            except BaseException as error:
                # What did start would outlive this run, and its folder.
                self._run("down")
                if last or not isinstance(error, Failed):
                    raise
                print(f"once more: {error}", file=sys.stderr)

    def __exit__(self, *_):
        self._run("down")

    def query(self, sql):
        """The first column of the first row of a query on the store, a number."""
        return int(self.execute(sql).split()[0])

    def execute(self, sql):
        socket_path = os.path.relpath(self._folder / "stack" / "mysql" / "mysql.sock")
        done = subprocess.run(["mariadb", "--no-defaults", "-u", "root", "-S", socket_path, "-NB", "-e", sql, "ecommerce"],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"{sql}: {done.stderr}")
        return done.stdout

    def pids(self):
        return {name: int((self._folder / "stack" / name / "pid").read_text().split()[0])
                for name in ("redis", "cache", "kafka", "mysql")}

    def offer(self, coupon, stock):
        """Makes a coupon, as a person would: by a row."""
        self.execute("INSERT INTO coupons (id, name, total_quantity, available_quantity, starts_at, ends_at) VALUES "
                     f"({coupon}, 'bench {stock}', {stock}, {stock}, UTC_TIMESTAMP(6) - INTERVAL 1 DAY,"
                     " UTC_TIMESTAMP(6) + INTERVAL 1 DAY)")

    def participants(self, coupon):
        """How many there are in Redis, and how many bytes their key takes there, by its own account of all of them."""
        key = f"coupon:issue:async:participants:{coupon}"
        command = ["redis-cli", "-u", self.environment["REDIS_URL"]]
        answers = [subprocess.run([*command, *words], check=True, capture_output=True, text=True).stdout.strip()
                   for words in (("SCARD", key), ("MEMORY", "USAGE", key, "SAMPLES", "0"))]
        if not all(answer.isdigit() and int(answer) > 0 for answer in answers):
            raise Failed(f"{key}: Redis says {answers}")
        return {"count": int(answers[0]), "bytes": int(answers[1])}

    def check_the_rest(self, rows, coupon):
        """Gate and events say what the rows say. Waits for the recorder's last words."""
        command = [ROOT / "build" / "release" / "bin" / "ecom-ledger", "snapshot", "stack", f"--coupon={coupon}",
                   f"--mysql-url={self.environment['MYSQL_URL']}", f"--redis-url={self.environment['REDIS_URL']}",
                   f"--kafka-brokers={self.environment['KAFKA_BROKERS']}"]
        deadline = time.monotonic() + DRAIN_SECONDS_MAX
        while True:
            state = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            found = next(c for c in state["coupons"] if c["id"] == coupon)
            gate, users = found["gate"], {row["user"] for row in found["rows"]}
            wrong = [what for what, holds in (
                ("the gate's stock is not what is available", gate["stock"] == found["available"]),
                ("the gate's participants are not the users of the rows", set(gate["participants"]) == users),
                ("reservations are left", gate["reservations"] == 0),
                ("not one event for each row", len(found["issued_events"]) == rows),
                ("there are dead letters", state["dead_letters"] == 0)) if not holds]
            if not wrong:
                return
            if time.monotonic() > deadline:
                raise Failed("; ".join(wrong))
            time.sleep(0.05)


BACKENDS = {"embedded": Embedded, "stack": Stack}


def check_rows(store, accepted, coupon=1):
    """Every promise is one row, and nothing else is one. Waits for the drain."""
    deadline = time.monotonic() + DRAIN_SECONDS_MAX
    while True:
        rows = store.query(f"SELECT count(*) FROM coupon_issues WHERE coupon_id = {coupon}")
        if rows >= accepted or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    if rows != accepted:
        raise Failed(f"{accepted} claims were accepted, and there are {rows} rows")
    if accepted == 0:
        raise Failed("nothing was accepted at all")
    users = store.query(f"SELECT count(DISTINCT user_id) FROM coupon_issues WHERE coupon_id = {coupon}")
    if users != rows:
        raise Failed(f"{rows} rows belong to {users} users")
    left = store.query(f"SELECT total_quantity - available_quantity FROM coupons WHERE id = {coupon}")
    if left != rows:
        raise Failed(f"{rows} rows, but {left} units were taken from the coupon")
    rejected = store.query("SELECT count(*) FROM coupon_rejections")
    if rejected != 0:
        raise Failed(f"{rejected} accepted claims were rejected afterwards")
    store.check_the_rest(rows, coupon)
    return rows


def check_views(store, reads):
    """Every read is one view. After a clean stop only: views are written behind."""
    views = store.query("SELECT sum(view_count) FROM products")
    if views != reads:
        raise Failed(f"{reads} products were read, and {views} views were counted")


def histogram(url, name):
    """The buckets of a Prometheus histogram: {upper bound: how many at most that}."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    prefix = f'{name}_bucket{{le="'
    return {line[len(prefix):].split('"')[0]: int(float(line.split()[-1])) for line in lines if line.startswith(prefix)}


def surroundings(backend):
    """What a figure needs beside it."""
    cpu = "unknown"
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {
        "when": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": {"cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release(),
                    "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)},
        "commit": commit.stdout.strip() or "unknown",
        "backend": backend,
    }


def shown(around):
    machine = around["machine"]
    return (f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Linux {machine['kernel']}; "
            f"commit {around['commit']}; backend {around['backend']}")


def store(name, result):
    """Writes a result file, a new one for each run."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    stamp = result["when"].replace(":", "").replace("-", "")
    path = RESULTS / f"{stamp}-{name}.json"
    write(path, result)
    return path


def write(path, result):
    path.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n")
