"""Opening a search: its run directory, its study, and everything that works on them."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ...compress.compressor import Compressor
from ...compress.options import CompressorOptions, Int8Weights
from ...errors import TargetUnavailable
from ...evaluation.answers import Examiner
from ...evaluation.availability import Availability, Patience
from ...evaluation.bench import Bench, Builder
from ...evaluation.catching_up import CatchingUp
from ...evaluation.evaluate import Evaluator
from ...evaluation.originals import Originals
from ...evaluation.sample_statistics import StatisticsFolder
from ...evaluation.stored_split import StoredSplit
from ...evaluation.targets import environment_identity, format_of
from ...profiles import SEARCH_TIMING, Environment
from ...results.run_directory import RunDirectory
from ...targets.store import MeasurementStore
from ...text.secrets import stored_command
from ..beside.messages import CHECK_PREFIX
from ..finalists import Finalists
from ..queue import Queue
from ..replay import ReplayedStudy
from ..run_writer import RunWriter
from ..screen import Screen
from ..search import Search
from ..session.budget import Budget, Ledger
from ..session.clock import Clock
from ..session.interrupt import Interrupts
from ..session.memory import MemoryPeak
from ..session.progress import Progress
from ..space.runtime_choice import RuntimeChoice
from ..state import SearchState
from ..study import SearchStudy
from ..trials import Options, Trials
from .checked_request import CHECKED_TASK, CheckedRequest
from .deterministic import fixed_latencies, levels_folder, same_sums, templates_folder
from .drop_scale import require_drop_scale
from .memory import memory_plan
from .run_facts import config_of, facts_of
from .strategy import StrategyMaker, strategy_of


@contextmanager
def open_search(
    checked: CheckedRequest,
    progress: Progress,
    *,
    strategy: StrategyMaker = strategy_of,
    budget: Budget | None = None,
    finalists: bool = True,
) -> Iterator[Search]:
    """The search in its run directory, which it owns meanwhile. Raises InputError.

    `strategy` makes what decides what is tried; `budget` divides the time otherwise than usual; without
    `finalists` nothing is looked at longer at the end.
    """
    request = checked.request
    require_drop_scale(checked)
    progress.note(f"Memory: {memory_plan(checked)}.")
    budget = budget or Budget(total_s=request.budget_s, recovery=request.recovery)
    options = Options(
        budget_s=request.budget_s,
        trials=request.trials,
        finalists=finalists,
        deterministic=request.deterministic,
        racing=races(checked),
    )
    with (
        same_sums(wanted=request.deterministic),
        RunDirectory.open(checked.directory, config_of(checked), fresh=request.fresh) as directory,
    ):
        _announce(directory, checked, progress)
        directory.write_json(CHECKED_TASK, checked.checked.to_json())
        compressor = make_compressor(checked, cache_dir=templates_folder())
        compressor.require_writable()
        if request.recovery:
            progress.stage("looking at normalizations")
            _note_foreign_norms(compressor, progress)
        StatisticsFolder.of_run(directory.path).keep_inputs(
            [tuple(x.numpy() for x in inputs) for inputs in compressor.students.samples.calibration],
            layout=checked.checked.task.preprocessing.get("layout"),
        )
        _remove_checks(directory)
        with splits_folder(directory) as splits:
            memory = MemoryPeak()
            clock = Clock(directory.elapsed, began_s=checked.began_s, at_beats=memory.look)
            evaluator = make_evaluator(
                checked, directory, splits, compressor, elapsed=lambda: clock.elapsed_s, progress=progress
            )
            if isinstance(evaluator.placing, RuntimeChoice):
                for reason in evaluator.placing.unusable.values():
                    progress.note(f"Left out: {reason}.")
            made = strategy(checked, compressor, evaluator, directory, progress=progress)
            test = StoredSplit(checked.checked.task.test, splits / "test")
            looks = Finalists(directory, evaluator, test, batch=request.batch)
            trials = _trials(
                checked,
                directory,
                evaluator,
                looks,
                clock,
                memory=memory,
                options=options,
                budget=budget,
                progress=progress,
            )
            try:
                yield Search(trials=trials, strategy=made, finalists=looks, students=compressor.students)
            finally:
                evaluator.close()
        if compressor.students.uses_database:
            progress.note(f"Level database: {compressor.students.database.describe()}.")


@contextmanager
def splits_folder(directory: RunDirectory) -> Iterator[Path]:
    """A folder for the splits that workers read, gone at the end: they are as large as the data."""
    directory.inputs.mkdir(exist_ok=True)
    try:
        yield directory.inputs
    finally:
        shutil.rmtree(directory.inputs, ignore_errors=True)


def _remove_checks(directory: RunDirectory) -> None:
    """Removes the files of recoveries that nobody collected."""
    for file in directory.cache.glob(f"{CHECK_PREFIX}*"):
        file.unlink(missing_ok=True)


def _note_foreign_norms(compressor: Compressor, progress: Progress) -> None:
    """Tells of normalizations whose statistics recovery must not learn anew."""
    if foreign := compressor.students.original.foreign_norms:
        progress.note(
            f"{len(foreign)} of the model's batch normalizations have statistics that are not those of the "
            "training split: they stay frozen."
        )


def _announce(directory: RunDirectory, checked: CheckedRequest, progress: Progress) -> None:
    old = checked.directory
    if directory.resumed:
        progress.note(f"Continuing the run in {directory.path}.")
    elif directory.changed == ("target",):
        progress.note(
            f"{old} cannot be continued (it is a run on other targets, or on these in another order): "
            f"starting {directory.path}. --from {old} tries its front first."
        )
    elif directory.changed:
        changed = ", ".join(directory.changed)
        progress.note(f"{old} cannot be continued ({changed} changed): starting {directory.path}.")
    directory.log(
        "opened",
        resumed=directory.resumed,
        changed=directory.changed,
        command=stored_command(checked.request.command),
    )


def make_compressor(checked: CheckedRequest, *, cache_dir: Path | None) -> Compressor:
    """The compressor of a run; templates are kept in `cache_dir`, the level database in the user's cache
    folder.
    """
    formats = tuple(dict.fromkeys(format_of(target.profile) for target in checked.targets))
    options = CompressorOptions(
        formats=formats,
        optional=checked.request.alternatives,
        seed=checked.request.seed,
        memory_bytes=checked.memory_bytes or None,
        device=checked.device,
    )
    levels_dir = levels_folder(deterministic=checked.request.deterministic)
    return Compressor(
        checked.checked.task, checked.network, options, cache_dir=cache_dir, levels_dir=levels_dir
    )


def make_evaluator(
    checked: CheckedRequest,
    directory: RunDirectory,
    splits: Path,
    compressor: Builder,
    *,
    elapsed: Callable[[], float],
    progress: Progress,
) -> Evaluator:
    """The evaluator of a run's candidates; it keeps artifacts and measurements in the run directory."""
    task, timing = checked.checked.task, SEARCH_TIMING.with_batch(checked.request.batch)
    progress.stage("reading the validation split")
    validation = StoredSplit(task.validation, splits / "validation", limit=checked.request.validation_samples)
    store, alone = MeasurementStore(directory.measurements), len(checked.targets) == 1
    availability = Availability()
    opened = []
    for target in checked.targets:
        name = target.profile.name
        recognize = None if alone else partial(_recognize, directory, name)
        opened.append(target.open(store, validation, recognize=recognize, patient=alone))
        if target.away:
            availability.gone(name, target.away)
    bench = Bench(
        compressor=compressor,
        targets=tuple(opened),
        examiner=Examiner(
            network=checked.network,
            metric=task.metric,
            validation=validation,
            measured_batch=timing.batch,
            statistics=StatisticsFolder.of_run(directory.path),
            races=races(checked),
        ),
        artifacts=directory.artifacts,
        timing=timing,
        availability=availability,
    )
    returning = any(target.may_return for target in checked.targets)
    return Evaluator(
        bench=bench,
        elapsed=elapsed,
        patience=Patience(limit_s=None if returning else 0.0),
        placing=runtime_choice(checked, compressor) if isinstance(compressor, Compressor) else None,
    )


def runtime_choice(checked: CheckedRequest, compressor: Compressor) -> RuntimeChoice | None:
    """What decides in which runtimes of a device candidates are tried; None where they serve all targets."""
    if checked.runtimes is None:
        return None
    unwritable = compressor.unwritable()
    unusable = {
        profile.name: f"{profile.facts.title}: {unwritable[format_of(profile)]}"
        for profile in checked.profiles
        if format_of(profile) in unwritable
    }
    return RuntimeChoice(spaces=checked.runtimes, unusable=unusable)


def races(checked: CheckedRequest) -> bool:
    """Whether candidates are validated no longer than they could join the front: on one target, where nothing
    but drop, size and latency counts, and no clock must decide what is tried.
    """
    limits = checked.constraints.values()
    counted = any(limit.max_energy_j is not None for limit in limits)
    return len(checked.targets) == 1 and not counted and not checked.request.deterministic


def _recognize(directory: RunDirectory, name: str, environment: Environment) -> None:
    """Keeps the environment of a target that was away in run.toml. TargetUnavailable when another one is
    there.
    """
    changed = directory.learn(dict(environment_identity(environment, target=name)))
    if changed:
        raise TargetUnavailable(
            f"Target '{name}' came back as another one ({', '.join(changed)} changed): "
            "restore it, or search again with --fresh."
        )


def _trials(
    checked: CheckedRequest,
    directory: RunDirectory,
    evaluator: Evaluator,
    finalists: Finalists,
    clock: Clock,
    *,
    memory: MemoryPeak,
    options: Options,
    budget: Budget,
    progress: Progress,
) -> Trials:
    request, interrupts = checked.request, Interrupts()
    kind = ReplayedStudy if request.deterministic else SearchStudy
    study = kind.open(directory.study, sampler=request.sampler, seed=request.seed)
    fixed = fixed_latencies(checked)
    state = SearchState(
        facts=facts_of(checked),
        uniform_digest=checked.space.uniform_int8().digest,
        looks=finalists.looks,
        judge=fixed.judged if fixed else None,
    )
    ledger = Ledger.open(directory, clock)
    originals = None
    if request.alternatives:
        originals = Originals(directory, evaluator, batch=request.batch)
        state.in_turns = originals.in_turns
    return Trials(
        space=checked.space,
        study=study,
        state=state,
        evaluator=evaluator,
        screen=_screen(checked, evaluator),
        queue=Queue(state, study, CatchingUp(directory, evaluator), progress=progress, interrupts=interrupts),
        directory=directory,
        writer=RunWriter(
            directory,
            state,
            evaluator=evaluator,
            finalists=finalists,
            clock=clock,
            ledger=ledger,
            memory=memory,
            memory_bytes=checked.memory_bytes,
        ),
        clock=clock,
        options=options,
        budget=budget,
        ledger=ledger,
        progress=progress,
        interrupts=interrupts,
        originals=originals,
    )


def _screen(checked: CheckedRequest, evaluator: Evaluator) -> Screen:
    latencies_s: dict[str, float] = {}
    sizes: dict[Int8Weights, int] = {}
    if isinstance(evaluator.placing, RuntimeChoice):  # a limit that one runtime breaks another may keep
        return Screen(network=checked.network, refusal=evaluator.placing.refusal)
    for profile in checked.profiles:
        limits = checked.constraints[profile.name]
        if limits.max_latency_s is not None and not checked.request.deterministic:
            latencies_s[profile.name] = limits.max_latency_s
        if limits.max_size_bytes is not None:
            tightest = sizes.get(profile.int8_weights, limits.max_size_bytes)
            sizes[profile.int8_weights] = min(limits.max_size_bytes, tightest)
    return Screen(network=checked.network, latencies_s=latencies_s, sizes=sizes)
