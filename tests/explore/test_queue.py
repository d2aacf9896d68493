"""The queue of measurements that wait for boards, and when the study is told of them."""

from dataclasses import replace

from autocompress.compress.recipe import Recipe
from autocompress.explore.queue import Queue
from autocompress.explore.session.interrupt import Interrupts
from autocompress.explore.session.progress import QuietProgress
from autocompress.explore.state import Objectives, SearchState
from autocompress.explore.study import SearchStudy
from autocompress.results.limits import Constraints
from autocompress.results.records.point import Failure, Missing
from autocompress.tests.explore.fakes import FakeCatchingUp
from autocompress.tests.results.records import measured, point, run_facts

AWAY = Failure(trial=0, stage="measure", kind="device", message="no route", retryable=True)


class OneByOne(FakeCatchingUp):
    """Measures the first point that waits."""

    def catch_up(self, points, *, progress, time_left):
        index = next(index for index, item in enumerate(points) if item.waiting)
        there = measured(points[index].recipe, ratio=0.9, drop=0.0)
        points[index] = replace(points[index], outcomes={**points[index].outcomes, "edge": there})


def test_a_correction_waits_when_one_was_made_just_now_and_is_made_up_for_at_the_end(tmp_path):
    study = SearchStudy.open(tmp_path / "study.db", sampler="random", seed=0)
    facts = run_facts({"fake": Constraints(), "edge": Constraints()})
    state = SearchState(facts=facts, uniform_digest="none")
    for trial in range(3):
        here = measured(Recipe(), ratio=0.5 if trial else 1.0)
        waiting = point(trial, outcomes={"fake": here, "edge": Missing(artifact=here.artifact, failure=AWAY)})
        asked = study.ask()
        state.add(waiting)
        study.store(asked, waiting)
        study.finish(asked, Objectives.of(state.run, waiting))
    queue = Queue(state, study, OneByOne(), progress=QuietProgress(), interrupts=Interrupts())
    waits = []
    for _ in range(3):
        queue.catch_up(lambda: True)
        waits.append([item.trial for item in study.points() if item.waiting])
    assert waits == [[1, 2], [1, 2], [1, 2]] and state.run.waiting == {}
    queue.correct()
    assert not any(item.waiting for item in study.points())
    assert [trial.values[2] for trial in study.trials] == [1.0, 0.9, 0.9]
