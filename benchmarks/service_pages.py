"""How long pages take: the list of 10,000 searches, and a search whose front has 1,000 points.

python benchmarks/service_pages.py        half a minute; prints the median and the largest of 20 requests

The front is drawn when its search ends, by the process that draws; what is timed is the first request of a
page after that, with a service that has just begun.
"""

import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from autocompress.results.records.latency import Latency
from autocompress.results.records.point import Quality
from autocompress.results.records.run import Run
from autocompress.results.run_directory import write_run
from autocompress.service.access.tokens import Access
from autocompress.service.database.opened import open_database
from autocompress.service.database.tables import JobRow
from autocompress.service.order import Order
from autocompress.tests.results.sample_run import sample_run
from autocompress.tests.service.served import Served, served
from sqlalchemy import insert

SEARCHES, POINTS, REQUESTS = 10_000, 1_000, 20


def fill(data: Path) -> None:
    """Writes the searches into the database."""
    database, order = open_database(None, data=data), Order(trials=3)
    caller = Access(database).by_token(Access(database).make("ana", "submit"))
    assert caller is not None
    progress = {"share": 1.0, "front": [{"trial": n, "latency_ratio": 0.5 + n / 100} for n in range(20)]}
    row = {
        "owner_id": caller.user_id,
        "order_digest": order.digest,
        "order": order.to_json(),
        "task": "digits",
        "target": "cpu",
        "labels": [],
        "devices": [],
        "priority": 0,
        "state": "finished",
        "wanted": "run",
        "created": 1.8e9,
        "attempt": 1,
        "crashes": 0,
        "message": "",
        "progress": progress,
        "version": 1,
    }
    with database.writing() as session:
        session.execute(insert(JobRow), [{**row, "id": f"{n:022x}"} for n in range(SEARCHES)])
    database.close()


def large_run() -> Run:
    """A run whose front has 1,000 points: each faster and worse than the one before."""
    run = sample_run(max_drop=None)
    target, model = run.target_names[0], run.points[5]
    measured, original = model.measured[target], run.baseline.measured[target]
    points = [run.baseline]
    for n in range(1, POINTS + 1):
        share = n / (2 * POINTS)
        drop, seconds = 0.2 * share, original.latency.seconds * (1 - share)
        quality = Quality(validation=original.quality.validation - drop)
        assert isinstance(measured.latency, Latency)
        latency = replace(
            measured.latency, latency_s=seconds, interval_s=(seconds, seconds), ratio=1 - share,
            ratio_interval=(1 - share, 1 - share), p50_s=seconds, p90_s=seconds, p99_s=seconds,
        )  # fmt: skip
        outcome = replace(measured, quality=quality, drop=drop, latency=latency, drop_interval=None)
        points.append(replace(model, trial=n, outcomes={target: outcome}))
    return replace(run, points=tuple(points), uniform_trial=None)


def timed(site: Served, name: str, path: str, cookie: str) -> None:
    """Prints how long requests of a page take, the first one by itself."""
    times = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        answer = site.ask("GET", path, Cookie=cookie)
        times.append(1000 * (time.perf_counter() - began))
        assert answer.status == 200, answer.text
    print(
        f"{name}: first {times[0]:.0f} ms, median {statistics.median(times):.0f} ms, most {max(times):.0f} ms"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        fill(data)
        search = f"{SEARCHES - 1:022x}"
        run = data / "runs" / search
        run.mkdir(parents=True)
        (run / "run.toml").touch()
        write_run(run, large_run())
        with served(data) as site:
            began = time.perf_counter()
            while not (drawn := site.service.drawn(search)) or not drawn.newest:
                time.sleep(0.1)
            print(
                f"drawn in {time.perf_counter() - began:.1f} s, {(run / 'front.json').stat().st_size:,} bytes of front.json"
            )
        with served(data) as site:
            cookie = "autocompress_session=" + site.service.access.log_in(site.token("ana")).cookie
            timed(site, "list of 10,000 searches", "/searches", cookie)
            timed(site, "list, by a filter", "/searches?state=running&text=resnet", cookie)
            timed(site, "page of a search with 1,000 points", f"/searches/{search}", cookie)
            timed(site, "its charts", f"/searches/{search}/charts", cookie)
            shown = json.loads(site.ask("GET", f"/searches/{search}/charts", Cookie=cookie).body)
            print(f"{sum(len(trace['x']) for trace in shown['latency']['data'])} marks in the first chart")


if __name__ == "__main__":
    main()
