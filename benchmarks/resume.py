"""What `kill -9` costs: finished trials repeated (target 0), and the time to the first new trial (target ≤ 10
s).

    python benchmarks/resume.py [--data ../shared/data] [--kills 3]

Searches ResNet-20, kills the process group a few seconds into a trial, and starts the same command again.
About 2 minutes.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MEASURED_FIRST = 2


def main() -> None:
    """Kills and resumes, then prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--kills", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        task = f"{ROOT / 'examples' / 'cifar10.py'}:resnet20"
        command = [
            sys.executable,
            "-m",
            "autocompress",
            "search",
            task,
            "--task-arg",
            f"data={arguments.data}",
        ]
        command += ["--trials", "50", "--out", str(run)]
        seconds = []
        for kill in range(arguments.kills + 1):
            before = len(events(run, "started"))
            since = time.perf_counter()
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            wait_for(lambda least=before: len(events(run, "started")) > least, process)
            if kill:
                seconds.append(time.perf_counter() - since)
            wait_for(lambda least=kill: len(events(run, "finished")) >= MEASURED_FIRST + least, process)
            time.sleep(2)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        finished = [event["trial"] for event in events(run, "finished")]
    repeated = len(finished) - len(set(finished))
    print(
        f"kills: {arguments.kills + 1}, finished trials: {len(set(finished))}, repeated: {repeated} (target 0)"
    )
    shown = ", ".join(f"{value:.1f}" for value in seconds)
    print(f"seconds from the command to the first new trial: {shown} (target ≤ 10)")


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    """Events of this kind in the run's log so far."""
    log = run / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("}")]
    return [event for event in found if event["event"] == kind]


def wait_for(condition: Any, process: "subprocess.Popen[bytes]") -> None:
    """Polls until the condition holds, ten minutes at most; ends when the search ends by itself."""
    end = time.monotonic() + 600
    while not condition():
        if time.monotonic() > end or process.poll() is not None:
            raise SystemExit(f"the search ended or hangs (exit code {process.poll()})")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
