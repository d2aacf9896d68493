"""The service under load, over loopback: requests beside a search, and many simulated workers.

    python benchmarks/service_load.py requests [MINUTES] [--idle]    50 requests a second, 20 live streams, a search
    python benchmarks/service_load.py workers [--jobs 500] [--seconds 5]     64 workers, simulated searches

A real `autocompress serve` on a PostgreSQL of its own (SQLite where there is none). The first prints errors, p99
and how much memory the service gained; the second the share of the workers' time that was work, and the
processor time of the service for each second. The load comes from this process: on a machine with few cores
it takes time from the service.
"""

import argparse
import os
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from autocompress.benchmarks.service_kills import Site
from autocompress.errors import AutocompressError
from autocompress.service.access.tokens import Access
from autocompress.service.client import Search
from autocompress.service.database.opened import open_database
from autocompress.service.order import Order
from autocompress.service.work.connection import Connection

PER_SECOND, STREAMS = 50, 20
WORKERS, JOBS = 64, 500
TICKS = os.sysconf("SC_CLK_TCK")


def processor_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    line = next(
        one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmRSS")
    )
    return int(line.split()[1]) / 1024


def token_of(site: Site, scope: str) -> str:
    """Another token of the running service."""
    database = open_database(site.options[-1] if site.database else None, data=site.data)
    text = Access(database).make("load", scope)
    database.close()
    return text


def ask(connection: Connection, path: str) -> tuple[float, str]:
    """How long a request takes, and its error."""
    began = time.perf_counter()
    try:
        if path.startswith("POST"):
            order = Order(trials=3, seed=random.randrange(1 << 31), labels=("nobody",))
            connection.ask("POST", "/v1/searches", order.to_json())
        else:
            connection.get(path)
    except AutocompressError as error:
        return time.perf_counter() - began, str(error)
    return time.perf_counter() - began, ""


def requests(site: Site, minutes: float, *, idle: bool) -> None:
    """50 requests a second beside a search; `idle`: beside one that waits for a worker."""
    search = site.client.submit_order(Order(budget=f"{minutes + 1:g}m"))
    connection = Connection(site.client.connection.url, token_of(site, "admin"))
    while not idle and "share" not in search.refresh()["progress"]:
        time.sleep(1)
    for _ in range(STREAMS):
        threading.Thread(target=_follow, args=(search,), daemon=True).start()
    base = f"/v1/searches/{search.id}"
    paths = [
        base,
        "/v1/searches",
        f"{base}/log",
        "/v1/tasks",
        "/v1/recipes",
        "/v1/searches?state=running",
    ] * 3
    paths += ["POST", "/v1/tasks"]
    with ThreadPoolExecutor(PER_SECOND) as pool:  # warm, so that growth is growth
        list(pool.map(lambda _: ask(connection, random.choice(paths)), range(200)))
        pid, before, spent = site.process.pid, memory_mb(site.process.pid), processor_s(site.process.pid)
        began, waiting = time.perf_counter(), []
        for number in range(round(60 * minutes * PER_SECOND)):
            time.sleep(max(0.0, began + number / PER_SECOND - time.perf_counter()))
            waiting.append(pool.submit(ask, connection, random.choice(paths)))
        answers = [one.result() for one in waiting]
    took = time.perf_counter() - began
    times = sorted(seconds for seconds, _ in answers)
    errors = Counter(error for _, error in answers if error)
    print(
        f"{len(times)} requests in {took:.0f} s ({len(times) / took:.0f} a second), {sum(errors.values())} errors"
    )
    print(
        f"median {1000 * statistics.median(times):.1f} ms, p99 {1000 * times[int(0.99 * len(times))]:.0f} ms"
    )
    print(
        f"memory {before:.0f} -> {memory_mb(pid):.0f} MB; processor {(processor_s(pid) - spent) / took:.2f} cores"
    )
    print(f"load {os.getloadavg()[0]:.1f}", *errors.most_common(3))
    search.cancel()


def _follow(search: Search) -> None:
    with suppress(AutocompressError):  # the service ends before the stream
        search.follow(lambda _: None)


def workers(site: Site, jobs: int, seconds: float) -> None:
    """64 workers that pretend to search."""
    for number in range(jobs):
        site.client.submit_order(Order(trials=3, seed=number))
    token, worked, lock = token_of(site, "work"), [0.0], threading.Lock()
    spent, began = processor_s(site.process.pid), time.perf_counter()
    ends: list[float] = []

    def work(number: int) -> None:
        connection, about = (
            Connection(site.client.connection.url, token),
            {"worker": f"w{number}", "labels": []},
        )
        while (job := connection.ask("POST", "/v1/work/claim", about)) is not None:
            started, told = time.perf_counter(), {"attempt": job["attempt"]}
            for beat in range(1, int(seconds) + 1):
                time.sleep(max(0.0, started + beat * seconds / int(seconds) - time.perf_counter()))
                progress = {"stage": "measuring", "measured": beat, "share": beat / seconds}
                connection.ask("POST", f"/v1/work/{job['id']}/beat", {**told, "progress": progress})
            connection.ask("POST", f"/v1/work/{job['id']}/end", {**told, "exit_code": 0})
            with lock:
                worked[0] += seconds
                ends.append(time.perf_counter())

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, range(WORKERS)))
    took = max(ends) - began
    rounds = -(-jobs // WORKERS)
    print(f"{len(ends)} of {jobs} jobs by {WORKERS} workers in {took:.1f} s; ideal {rounds * seconds:.0f} s")
    print(f"efficiency {worked[0] / (WORKERS * took):.3f} (at most {jobs / (WORKERS * rounds):.3f})")
    print(
        f"processor of the service {(processor_s(site.process.pid) - spent) / took:.2f} cores, load {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("requests", "workers"))
    parser.add_argument("minutes", type=float, nargs="?", default=10.0)
    parser.add_argument("--idle", action="store_true", help="no search runs meanwhile")
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long a simulated search takes")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ac-load-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "postgres").mkdir()
    (folder / "data").mkdir()  # ten minutes submit more than a user's usual 1,000 jobs
    (folder / "data" / "serve.toml").write_text("[limits]\nlive_jobs = 100_000\n")
    site = Site(folder, worker=asked.part == "requests" and not asked.idle)
    try:
        requests(site, asked.minutes, idle=asked.idle) if asked.part == "requests" else workers(
            site, asked.jobs, asked.seconds
        )
    finally:
        site.end()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
