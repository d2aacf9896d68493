"""A job is claimed once, goes on when its worker is silent, and ends as is wanted of it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from autocompress.errors import InputError
from autocompress.service.clock import SteadyClock
from autocompress.service.order import Order
from autocompress.service.queue.claims import Claims, Told
from autocompress.service.queue.events import Line
from autocompress.service.queue.job import ConflictError, LeaseLostError, NoJobError, TooManyError
from autocompress.service.queue.jobs import Jobs, Listed
from autocompress.tests.present import present
from autocompress.tests.service.conftest import caller_of

HERE = "127.0.0.1"


@pytest.fixture
def jobs(database, clock):
    return Jobs(database, clock=clock)


@pytest.fixture
def claims(database, clock):
    return Claims(database, clock=clock, lease_s=60)


@pytest.fixture
def submit(jobs, ana, clock):
    def submit(caller=None, key=None, **options):
        clock.now += 0.001  # the oldest is known
        return jobs.submit(Order(**options), caller or ana, key=key, origin=HERE)[0]

    return submit


@pytest.fixture
def parts(submit, claims, jobs, ana):
    return submit, claims, jobs, ana


def ended(claims, job, code, message=""):
    return claims.end(job.id, job.attempt, Told(), exit_code=code, message=message)


def test_many_workers_at_once_claim_each_job_once(submit, claims):
    ids = {submit(seed=number).id for number in range(12)}
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda number: claims.claim(f"w{number}", []), range(24)))
    got = [job.id for job in claimed if job is not None]
    # one that a rival had locked at that moment is skipped, and there for the next one
    got += [job.id for _ in range(12) if (job := claims.claim("last", [])) is not None]
    assert sorted(got) == sorted(ids)


def test_a_job_of_a_silent_worker_goes_on_with_another_one_and_the_first_is_refused(submit, claims, clock):
    submit()
    first = claims.claim("first", [])
    clock.now += 59
    assert claims.claim("second", []) is None
    claims.beat(first.id, first.attempt, Told())
    clock.now += 59
    assert claims.claim("second", []) is None
    clock.now += 2
    second = claims.claim("second", [])
    assert (second.id, second.attempt) == (first.id, 2)
    with pytest.raises(LeaseLostError):
        claims.beat(first.id, first.attempt, Told())
    with pytest.raises(LeaseLostError):
        ended(claims, first, 0)


def test_a_worker_that_begins_anew_gives_back_what_it_had(submit, claims):
    submit()
    claims.claim("first", [])
    assert claims.began("second", []) == 0
    assert claims.began("first", []) == 1
    assert claims.claim("second", []).attempt == 2


def test_lines_that_are_told_twice_are_kept_once(submit, claims, jobs, ana):
    submit()
    job = claims.claim("w", [])
    told = Told(
        lines=[Line(number=number, at=1.0, kind="note", text=f"line {number}") for number in range(3)]
    )
    claims.beat(job.id, job.attempt, told)
    claims.beat(job.id, job.attempt, told)
    lines = jobs.log(job.id, ana, after=0)
    assert [line.text for _, line in lines] == ["line 0", "line 1", "line 2"]
    assert [line.text for _, line in jobs.log(job.id, ana, after=lines[1][0])] == ["line 2"]


@pytest.mark.parametrize(
    ("wanted", "code", "state"),
    [
        ("run", 0, "finished"),
        ("run", 1, "finished"),
        ("run", 2, "failed"),
        ("run", 3, "failed"),
        ("run", 130, "queued"),
        ("run", -9, "queued"),
        ("pause", 130, "paused"),
        ("pause", -15, "paused"),
        ("pause", 0, "finished"),
        ("cancel", 130, "cancelled"),
    ],
)
def test_how_a_command_ends_and_what_is_wanted_decide_the_state(parts, wanted, code, state):
    submit, claims, jobs, ana = parts
    submit()
    job = claims.claim("w", [])
    if wanted != "run":
        getattr(jobs, wanted)(job.id, ana, origin=HERE)
        assert claims.beat(job.id, job.attempt, Told()) == wanted
    assert ended(claims, job, code).state == state


def test_a_search_that_keeps_crashing_fails_unless_it_gets_on(submit, claims):
    submit()
    for _ in range(2):
        assert ended(claims, claims.claim("w", []), -11, "signal 11").state == "queued"
    job = claims.claim("w", [])
    claims.beat(job.id, job.attempt, Told(progress={"measured": 5}))
    assert ended(claims, job, -11).state == "queued"
    for _ in range(1):
        ended(claims, claims.claim("w", []), -11)
    assert ended(claims, claims.claim("w", []), -11).state == "failed"


def test_a_queued_job_is_paused_resumed_and_cancelled_without_a_worker(submit, claims, jobs, ana):
    job = submit()
    assert jobs.pause(job.id, ana, origin=HERE).state == "paused"
    assert claims.claim("w", []) is None
    assert jobs.resume(job.id, ana, origin=HERE).state == "queued"
    assert jobs.cancel(job.id, ana, origin=HERE).state == "cancelled"
    with pytest.raises(ConflictError, match="nothing to pause"):
        jobs.pause(job.id, ana, origin=HERE)


def test_another_budget_makes_a_running_search_begin_again_and_a_finished_one_go_on(
    submit, claims, jobs, ana
):
    submit(budget="3m")
    job = claims.claim("w", [])
    changed = jobs.change_budget(job.id, ana, budget="9m", trials=None, origin=HERE)
    assert (changed.order.budget, changed.wanted) == ("9m", "again")
    assert ended(claims, job, 130).state == "queued"
    job = claims.claim("w", [])
    ended(claims, job, 0)
    assert jobs.change_budget(job.id, ana, budget="20m", trials=None, origin=HERE).state == "queued"
    with pytest.raises(InputError, match="duration"):
        jobs.change_budget(job.id, ana, budget="9", trials=None, origin=HERE)


def test_a_board_belongs_to_one_job_at_a_time(submit, claims):
    board = "cpu@ana@board:22"
    (
        submit(target=board, seed=1),
        submit(target="cpu@ben@board:22", seed=2),
        submit(target="cpu@other", seed=3),
    )
    first, third = claims.claim("a", []), claims.claim("b", [])
    assert (first.order.seed, third.order.seed) == (1, 3)
    assert claims.claim("c", []) is None
    ended(claims, first, 0)
    assert claims.claim("c", []).order.seed == 2


def test_a_worker_gets_what_its_labels_allow(submit, claims):
    submit(labels=("gpu", "big"))
    assert claims.claim("a", ["gpu"]) is None
    assert claims.claim("b", ["gpu", "big", "more"]) is not None


def test_priority_goes_first_then_who_has_fewer_running_then_the_oldest(submit, claims, database):
    ben = caller_of(database, "ben")
    submit(seed=1), submit(seed=2), submit(caller=ben, seed=3), submit(seed=4, priority=5)
    assert [claims.claim(f"w{n}", []).order.seed for n in range(4)] == [4, 3, 1, 2]


def test_the_same_key_gives_the_same_job_and_another_order_is_refused(submit):
    first = submit(key="k", seed=1)
    assert submit(key="k", seed=1).id == first.id
    with pytest.raises(ConflictError, match="used for another order"):
        submit(key="k", seed=2)


def test_one_key_in_many_threads_at_once_makes_one_job(jobs, ana):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: jobs.submit(Order(), ana, key="k", origin=HERE), range(16)))
    assert len({job.id for job, _ in made}) == 1
    assert sum(new for _, new in made) == 1


def test_a_user_has_as_many_live_jobs_as_is_allowed(database, ana, clock):
    jobs = Jobs(database, most_live=1, clock=clock)
    job, _ = jobs.submit(Order(), ana, key=None, origin=HERE)
    with pytest.raises(TooManyError, match="which is the limit"):
        jobs.submit(Order(), ana, key=None, origin=HERE)
    jobs.cancel(job.id, ana, origin=HERE)
    jobs.submit(Order(), ana, key=None, origin=HERE)


def test_another_users_job_is_not_there_and_an_administrator_sees_it(submit, jobs, database):
    job, ben, root = submit(), caller_of(database, "ben"), caller_of(database, "root", "admin")
    for attempt in (jobs.get, lambda *a: jobs.cancel(*a, origin=HERE), lambda *a: jobs.log(*a, after=0)):
        with pytest.raises(NoJobError):
            attempt(job.id, ben)
    assert jobs.listed(Listed(), ben) == []
    assert jobs.get(job.id, root).owner == "ana"


def test_jobs_are_listed_by_pages_and_filters(submit, jobs, ana, clock):
    ids = []
    for number in range(5):
        clock.now += 1
        ids.append(submit(seed=number, target="cpu" if number else "cpu-2t").id)
    first = jobs.listed(Listed(limit=2), ana)
    second = jobs.listed(Listed(limit=9, before=first[-1].id), ana)
    assert [job.id for job in (*first, *second)] == ids[::-1]
    assert [job.id for job in jobs.listed(Listed(text="2t"), ana)] == ids[:1]
    assert jobs.listed(Listed(text="%"), ana) == []
    assert jobs.listed(Listed(state="running"), ana) == []
    assert len(jobs.listed(Listed(owner="ana", task="digits"), ana)) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "cpuu"}, "cpuu"),
        ({"target": "edge.toml"}, "is a file"),
        ({"budget": "3"}, "duration"),
        ({"trials": 0}, "too few"),
        ({"max_latency": ("nothing=2ms",)}, "nothing"),
        ({"arguments": {"x": "env:HOME"}}, "variable of the worker"),
        ({"arguments": {"token": "hf_abcdefghijklmnopqrst"}}, "secret"),
        ({"arguments": {"x": "y" * 1001}}, "at most 1000 characters"),
        ({"priority": 5000}, "priority"),
    ],
)
def test_what_search_would_refuse_is_refused_with_its_sentence(options, message):
    with pytest.raises(InputError, match=message):
        Order(**options)


def test_a_clock_that_is_set_back_or_forward_moves_no_lease(database, submit):
    wall, steady = [1_800_000_000.0], [50.0]
    claims = Claims(database, clock=SteadyClock(lambda: wall[0], lambda: steady[0]), lease_s=60)
    submit()
    job = present(claims.claim("w", []))
    wall[0] += 7200  # forward: the worker is alive and keeps what it has
    steady[0] += 30
    assert claims.claim("other", []) is None
    claims.beat(job.id, job.attempt, Told())
    wall[0] -= 14_400  # back: a worker that is silent loses it all the same
    steady[0] += 61
    assert present(claims.claim("other", [])).attempt == 2


def test_after_a_start_with_another_clock_workers_have_a_lease_to_speak_up(submit, claims, clock):
    submit()
    job = claims.claim("w", [])
    clock.now += 5000
    claims.renew_all()
    assert claims.claim("other", []) is None
    clock.now -= 10_000
    claims.renew_all()
    clock.now += 61
    assert claims.claim("other", []).attempt == job.attempt + 1


def test_the_disk_that_a_users_runs_take_is_bounded(database, ana, clock, claims):
    jobs = Jobs(database, most_bytes=1000, clock=clock)
    job, _ = jobs.submit(Order(), ana, key=None, origin=HERE)
    claims.claim("w", [])
    claims.end(job.id, 1, Told(), exit_code=0, message="", disk_bytes=1000)
    with pytest.raises(TooManyError, match="take 1000 B, and 1000 B is the limit"):
        jobs.submit(Order(), ana, key=None, origin=HERE)
    jobs.submit(Order(), caller_of(database, "ben"), key=None, origin=HERE)
    jobs.give_up_files(job.id, ana, origin=HERE)
    again, _ = jobs.submit(Order(), ana, key=None, origin=HERE)
    with pytest.raises(ConflictError, match="needs its files"):
        jobs.give_up_files(again.id, ana, origin=HERE)


def test_seconds_are_counted_by_the_kind_of_the_stage(submit, claims, clock):
    submit()
    job = claims.claim("w", [])
    for seconds, stage in (
        (0, "trial 7: measuring on cpu"),
        (10, "trial 8: measuring on cpu"),
        (5, "rung r0: candidate 3"),
    ):
        clock.now += seconds
        claims.beat(job.id, job.attempt, Told(progress={"stage": stage}))
    clock.now += 2
    claims.beat(job.id, job.attempt, Told())
    assert claims.stage_seconds == {"measuring on": 15.0, "rung": 2.0}
