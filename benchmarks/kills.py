"""What 100 `kill -9` of a search and 20 of its workers cost: nothing, or it says what.

    python benchmarks/kills.py [--group 100] [--worker 20] [--seed 0] [--trials 5]

Searches the built-in digits, and kills its process group, or one of its workers alone, at random moments: two
of three kills come while the session starts, the third one later, at most twice as long as it takes to start.
The same command is run again until all kills are done; a run that ends before is followed by another one.
After each kill of the group the study and front.json are compared with all that was finished before. At the
end the last run is let finish, and what is left behind is counted. TMPDIR, the caches and the folder of locks
are its own. A kill takes about as long as a session takes to start: 120 of them 12 minutes where that is 6 s.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autocompress.results.run_directory import read_front

END_S = 30.0  # for the processes of a killed search
WORKER_S = 120.0  # for a worker to appear
EARLY = 2 / 3  # of the kills come while the session starts
OF_LIBRARIES = ("torchinductor_", ".ses")  # what torch and ONNX Runtime put into TMPDIR, and use again
OF_RUN = (
    "run.toml study.db study.db-shm study.db-wal measurements.db measurements.db-shm measurements.db-wal "
    "artifacts front.json r0.jsonl caught_up.json finalists.json log.jsonl elapsed time.json task.json run.lock "
    "report.html cache"
).split()


@dataclass
class Counts:
    """What was lost, in words; one entry for each loss."""

    finished: int = 0
    kills: dict[str, int] = field(default_factory=lambda: {"group": 0, "worker": 0})
    sessions: int = 0
    runs: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    candidates: list[str] = field(default_factory=list)
    yardsticks: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)


class Searches:
    """Searches one after the other in `folder`, each in as many sessions as it takes."""

    def __init__(self, folder: Path, trials: int):
        self.folder, self.trials, self.counts = folder, trials, Counts()
        self.process: subprocess.Popen[bytes] | None = None
        self.finished: dict[int, dict[str, Any]] = {}
        self.shown: set[int] = set()
        self.start_s = 0.0  # that the last session which was waited for took to open its run
        self.logged = 0  # bytes of log.jsonl before the session
        for name in ("tmp", "locks", "cache"):
            (folder / name).mkdir()
        self.environment = {
            **os.environ,
            "TMPDIR": str(folder / "tmp"),
            "AUTOCOMPRESS_LOCKS": str(folder / "locks"),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }

    @property
    def run(self) -> Path:
        """The directory of the present run."""
        return self.folder / f"run{self.counts.runs}"

    def start(self) -> "subprocess.Popen[bytes]":
        """The session that goes on, or the next one."""
        if self.process is None:
            command = [sys.executable, "-m", "autocompress", "search", "digits", "--out", str(self.run)]
            command += ["--trials", str(self.trials), "--target", "cpu"]
            self.counts.sessions += 1
            self.logged = self.log_bytes()
            log = (self.folder / "log").open("ab")
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self.environment, start_new_session=True
            )
            log.close()
        return self.process

    def await_start(self) -> None:
        """Waits until the session has opened its run, or has ended; how long that takes is kept."""
        fresh, began = self.process is None, time.monotonic()
        process = self.start()
        while process.poll() is None and self.log_bytes() <= self.logged:
            time.sleep(0.05)
        if fresh:
            self.start_s = time.monotonic() - began

    def log_bytes(self) -> int:
        """The size of the run's log."""
        log = self.run / "log.jsonl"
        return log.stat().st_size if log.is_file() else 0

    def ended(self) -> bool:
        """Whether the session ended by itself; then its run is looked at."""
        if self.process is None or self.process.poll() is None:
            return False
        code, self.process = self.process.returncode, None
        if code != 0:
            self.counts.ends.append(f"session {self.counts.sessions} ended with exit code {code}")
        self.look(over=True)
        return True

    def kill_group(self) -> None:
        """Kills the session's process group, and compares what is on the disk then."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        self.counts.kills["group"] += 1
        self.await_end()
        self.look()

    def await_end(self) -> None:
        """Waits for the processes that a session started."""
        end = time.monotonic() + END_S
        while (processes := dict(self.processes())) and time.monotonic() < end:
            time.sleep(0.1)
        for pid, command in processes.items():
            self.counts.orphans.append(command)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_worker(self, choose: random.Random) -> bool:
        """Kills one process beside the search, once there is one; False when the session ended before."""
        end = time.monotonic() + WORKER_S
        while time.monotonic() < end and not self.ended():
            workers = [
                pid for pid, text in self.processes() if "on_device" in text or "beside.process" in text
            ]
            if workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(choose.choice(workers), signal.SIGKILL)
                    self.counts.kills["worker"] += 1
                    return True
            time.sleep(0.02)
        return False

    def processes(self) -> Iterator[tuple[int, str]]:
        """The pids and command lines of all that the searches started and that still runs."""
        mark = f"TMPDIR={self.folder / 'tmp'}".encode()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                variables = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
                if mark in variables:
                    yield (
                        int(entry.name),
                        (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200],
                    )

    # --- what is on the disk

    def look(self, *, over: bool = False) -> None:
        """Compares the study and front.json with all that was finished before."""
        now, failed = read_study(self.run / "study.db")
        for number, trial in self.finished.items():
            if number not in now:
                self.counts.lost.append(f"{self.run.name}: trial {number}")
            elif now[number] != trial:
                self.counts.wrong.append(f"{self.run.name}: trial {number} says something else")
        front = read_front(self.run) if self.run.is_dir() else None
        points = {point.trial: point for point in front.points} if front else {}
        self.counts.lost += [
            f"{self.run.name}: trial {number} of front.json" for number in self.shown - points.keys()
        ]
        for number, point in points.items():
            if number in now and point.recipe.to_json() != now[number]["recipe"]:
                self.counts.wrong.append(f"{self.run.name}: trial {number} of front.json has another recipe")
        self.finished, self.shown = now, set(points)
        if over:
            self.look_at_end(now, failed, uniform=None if front is None else front.uniform_trial)

    def look_at_end(self, now: dict[int, Any], failed: list[str], *, uniform: int | None) -> None:
        """Looks at a run that is over, and turns to the next one."""
        counts = self.counts
        counts.finished += len(now)
        counts.lost += [f"{self.run.name}: front.json lacks trial {n}" for n in now.keys() - self.shown]
        counts.candidates += [f"{self.run.name}: {text}" for text in failed]
        if 0 not in now:
            counts.yardsticks.append(f"{self.run.name}: the original")
        if uniform is None:
            counts.yardsticks.append(f"{self.run.name}: uniform int8")
        counts.left_behind += [
            str(path.relative_to(self.folder)) for path in self.run.iterdir() if path.name not in OF_RUN
        ]
        self.finished, self.shown = {}, set()
        counts.runs += 1

    def look_around(self) -> None:
        """Counts what is left outside of the runs, once the last one is over."""
        self.await_end()
        around = [path for path in (self.folder / "tmp").iterdir() if not path.name.startswith(OF_LIBRARIES)]
        around += [path for path in (self.folder / "locks").rglob("*") if path.suffix != ".lock"]
        around += [
            path
            for path in (self.folder / "cache").rglob("*")
            if path.suffix in (".part", ".tmp") or path.name.startswith("check-")
        ]
        folders = {path.parent for path in (self.folder / "locks").rglob("*.lock")}
        self.counts.left_behind += [
            str(path.relative_to(self.folder)) for path in around if path not in folders
        ]


def read_study(path: Path) -> tuple[dict[int, dict[str, Any]], list[str]]:
    """What never changes of the measured trials, by number, and the failures of others, in words."""
    if not path.is_file():
        return {}, []
    with contextlib.closing(sqlite3.connect(path)) as connection:
        try:
            rows = connection.execute(
                "SELECT number, key, value_json FROM trials JOIN trial_user_attributes USING (trial_id) "
                "WHERE (state = 'COMPLETE' AND key = 'point') OR (state = 'FAIL' AND key = 'failure')"
            ).fetchall()
        except sqlite3.OperationalError:  # it was killed before it made the tables
            return {}, []
    failed = [
        f"trial {number}: {json.loads(text)['message']}" for number, key, text in rows if key == "failure"
    ]
    points = {number: json.loads(text) for number, key, text in rows if key == "point"}
    return points, failed


def main() -> None:
    """Kills until all kills are done, then prints the table. Exit code 1 if anything was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--group", type=int, default=100, help="kills of the process group")
    parser.add_argument("--worker", type=int, default=20, help="kills of one worker alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=5, help="of each run")
    arguments = parser.parse_args()
    choose = random.Random(arguments.seed)
    kills = ["group"] * arguments.group + ["worker"] * arguments.worker
    choose.shuffle(kills)
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        searches, began = Searches(Path(folder), arguments.trials), time.monotonic()
        try:
            searches.await_start()
            for kill in kills:
                strike(searches, kill, choose)
            while not searches.ended():
                searches.start()
                time.sleep(0.1)
            searches.look_around()
        finally:
            searches.await_end()
        bad = table(searches.counts, seconds=time.monotonic() - began)
    sys.exit(1 if bad else 0)


def strike(searches: Searches, kill: str, choose: random.Random) -> None:
    """One kill, at a random moment."""
    done = False
    while not done:
        early = choose.random() < EARLY
        if not early:
            searches.await_start()
        longest_s = searches.start_s if early else 2 * searches.start_s
        with contextlib.suppress(subprocess.TimeoutExpired):
            searches.start().wait(timeout=choose.uniform(0.0, longest_s))
        if searches.ended():
            continue
        if kill == "group":
            searches.kill_group()
            done = True
        else:
            done = searches.kill_worker(choose)
    counts = searches.counts
    facts = f"run {counts.runs}, {len(searches.finished)} trials finished, {searches.start_s:.1f} s to start"
    print(f"{counts.kills}, {facts}", flush=True)


def table(counts: Counts, *, seconds: float) -> bool:
    """Prints what the kills cost; whether they cost anything."""
    print(
        f"\nkills of the group: {counts.kills['group']}, of a worker: {counts.kills['worker']}; "
        f"{counts.runs} runs in {counts.sessions} sessions, {counts.finished} trials, {seconds / 60:.0f} min\n"
    )
    rows = {
        "finished trials lost": counts.lost,
        "finished trials that say something else": counts.wrong,
        "candidates that failed": counts.candidates,
        "yardsticks lost": counts.yardsticks,
        "things left behind": counts.left_behind,
        "processes left behind": counts.orphans,
        "sessions that did not end well": counts.ends,
    }
    for name, entries in rows.items():
        print(f"| {name} | {len(entries)} |")
        for entry in entries[:20]:
            print(f"    {entry}")
    return any(rows.values())


if __name__ == "__main__":
    main()
