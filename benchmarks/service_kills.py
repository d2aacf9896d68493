"""`kill -9` of the service, its worker and its database at random moments, while jobs run.

    python benchmarks/service_kills.py [KILLS] [--jobs 6] [--seed 0]

A real `autocompress serve` on a PostgreSQL of its own (SQLite where there is none), with short searches of
digits. After KILLS (30) kills everything is left alone until all jobs are over. It prints the jobs that were
lost (they did not finish) and the trials that were finished more than once.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from autocompress.errors import AutocompressError
from autocompress.service.client import Client
from autocompress.service.order import Order
from autocompress.tests import postgres


class Site:
    """The service and its database; both can be killed and started again."""

    def __init__(self, folder: Path, *, worker: bool = True):
        self.folder, self.data = folder, folder / "data"
        self.database = postgres.Postgres(folder / "postgres") if postgres.BINARIES else None
        self.options = [] if worker else ["--no-worker"]
        self.options += ["--database", self.database.new_database()] if self.database else []
        self.token = ""
        self.start()

    def start(self) -> None:
        self.data.mkdir(exist_ok=True)
        err = self.folder / "err"
        command = [sys.executable, "-m", "autocompress", "serve", "--data", str(self.data), "--lease", "10s"]
        with err.open("w") as log, (self.folder / "out").open("a") as out:
            self.process = subprocess.Popen([*command, "--port", "0", *self.options], stdout=out, stderr=log)
        while (found := re.search(r"serves at (\S+),", err.read_text())) is None:
            assert self.process.poll() is None, err.read_text()
            time.sleep(0.1)
        self.token = self.token or (self.folder / "out").read_text().split()[-1]
        self.client = Client(found[1], token=self.token)

    def kill(self, victim: str) -> None:
        """Kills a part, and starts it again where nothing else does."""
        if victim == "worker":
            for pid in _children(self.process.pid):
                os.kill(pid, signal.SIGKILL)
        elif victim == "database" and self.database:
            os.killpg(self.database.process.pid, signal.SIGKILL)
            self.database.process.wait()
            time.sleep(1)
            self.database.start()
        else:
            self.process.kill()
            self.process.wait()
            self.start()

    def states(self) -> dict[str, str]:
        with suppress(AutocompressError):
            return {one.id: one.refresh()["state"] for one in self.client.searches()}
        return {}

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()
        if self.database:
            self.database.stop()


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(one) for task in tasks for one in (task / "children").read_text().split()]
    return []


def _finished(data: Path) -> Counter[tuple[str, int]]:
    """How often each trial of each run finished."""
    counts: Counter[tuple[str, int]] = Counter()
    for log in data.glob("runs/*/log.jsonl"):
        events = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
        counts.update((log.parent.name, one["trial"]) for one in events if one["event"] == "finished")
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int, nargs="?", default=30)
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patience", type=float, default=3600.0, help="seconds until jobs count as lost")
    asked = parser.parse_args()
    draw, folder = random.Random(asked.seed), Path(tempfile.mkdtemp(prefix="ac-kills-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "postgres").mkdir()
    site, kills = Site(folder), Counter[str]()
    for number in range(asked.jobs):
        order = Order(trials=3, recovery=False, seed=number)
        site.client.submit_order(order, key=f"job-{number}")
    for _ in range(asked.kills):
        time.sleep(draw.uniform(2, 12))
        victim = draw.choice(("service", "worker", "database" if site.database else "worker"))
        site.kill(victim)
        kills[victim] += 1
        if site.states() and all(state == "finished" for state in site.states().values()):
            break
    deadline = time.monotonic() + asked.patience
    while time.monotonic() < deadline:
        states = site.states()
        if states and not {"queued", "running"} & set(states.values()):
            break
        time.sleep(1)
    states, trials = site.states(), _finished(site.data)
    site.end()
    print(f"kills: {dict(kills)}, {len(states)} jobs, {len(trials)} trials")
    print(
        f"jobs lost: {asked.jobs - sum(state == 'finished' for state in states.values())}  {dict(Counter(states.values()))}"
    )
    print(f"trials finished more than once: {sum(count > 1 for count in trials.values())}")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
