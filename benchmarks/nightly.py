"""Nights of which the truth is known: false alarms in quiet ones, and what is found and named of injected
regressions.

    python benchmarks/nightly.py [SERIES]

Each of SERIES (3) series has 30 quiet nights on a noisy machine, of which every search, verification and second
look is made up with the noise of tests/nightly/noise.py; everything else is the engine. Then each kind of
regression is injected into the night after five quiet ones. A series takes about 10 seconds of one core.

With --measure BUNDLE it prints that noise instead: the model of a bundle beside its reference ten times, and
in turns with itself, on this machine as it is now. That takes five minutes.
"""

import contextlib
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from autocompress.nightly.records.event import exit_code
from autocompress.nightly.records.night import Night
from autocompress.nightly.steps import compare_step, deploy_step, other_runtimes, turns_step
from autocompress.tests.nightly.noise import Noise, NoisyStandIn
from autocompress.tests.nightly.stand_in import a_night, configured, with_environment, with_options

QUIET = 30
OPTION = "session.set_denormal_as_zero"


def main(series: int) -> None:
    """Prints false alarms, then each injected kind."""
    nights = [night for seed in range(series) for night in quiet(seed, QUIET)[1]]
    alarms = [night for night in nights if exit_code(night.all_events) != 0]
    print(f"{len(nights)} quiet nights in {series} series: {len(alarms)} false alarms")
    for night in alarms:
        print("   ", *(event for event in night.all_events if event.severity == "bad"))
    print(f"{'injected':40} {'exit code':>10} {'found':>7} {'named':>7}")
    for name, (code, word) in INJECTED.items():
        ended = [injected(name, seed) for seed in range(100, 100 + series)]
        found = sum(exit_code(night.all_events) == code for night in ended)
        named = sum(any(word in str(event) for event in night.all_events) for night in ended)
        print(f"{name:40} {code:>10} {found:>4}/{series} {named:>4}/{series}")


INJECTED = {
    "a runtime that is 5 % slower": (4, "onnxruntime 1.31.1 → 9.0.0"),
    "a loss of 0.5 points": (4, "lost 0.50 pp"),
    "another runtime option, 5 % slower": (4, f"{OPTION} = 1 → {OPTION} = 0"),
    "a target that is away": (3, "could not use its target"),
}


def quiet(seed: int, count: int) -> tuple[NoisyStandIn, list[Night]]:
    """That many quiet nights; and the commands, to go on with."""
    noise = Noise(random.Random(seed))
    place = Path(tempfile.mkdtemp(prefix="autocompress-nights-"))
    commands = NoisyStandIn(place, noise)
    with _made_up(noise):
        return commands, [_night(commands) for _ in range(count)]


def injected(name: str, seed: int) -> Night:
    """The night in which the regression comes, after five quiet ones."""
    commands, _ = quiet(seed, 5)
    noise, found = commands.noise, commands.noise.found
    if "slower" in name:
        noise.slower = 1.05
        change = {"runtime_version": "9.0.0"} if "runtime that" in name else None
        commands.found = lambda task: (
            with_environment(found(task), **change) if change else with_options(found(task), **{OPTION: "0"})
        )
    elif "points" in name:
        noise.quality -= 0.005
    else:
        commands.ends["search"] = [3, 3]
    with _made_up(noise):
        return _night(commands)


def _night(commands: NoisyStandIn) -> Night:
    commands.noise.begin_night()
    return a_night(configured(commands._place), commands)


@contextlib.contextmanager
def _made_up(noise: Noise) -> Iterator[None]:
    """A block in which what is measured in this process has the noise, too."""
    subject = turns_step.Subject(
        target="cpu", runtime="onnxruntime", model=Path(__file__), batch=1, sizes=None
    )
    with (
        mock.patch.object(compare_step, "beside", noise.beside),
        mock.patch.object(deploy_step, "beside", noise.beside),
        mock.patch.object(other_runtimes, "measure_in_turns", noise.in_turns),
        mock.patch.object(other_runtimes, "_target", lambda compared: None),
        mock.patch.object(turns_step, "python_with", lambda *_, **__: "python"),
        mock.patch.object(turns_step, "_subjects", lambda *_: iter([subject])),
    ):
        yield


def measure(bundle: Path) -> None:
    """Prints the noise of this machine now."""
    from autocompress.nightly.steps.in_turns import Setting, measure_in_turns
    from autocompress.profiles import FINALIST_TIMING, load_profile
    from autocompress.targets import Target

    target = Target(load_profile("cpu"))
    ratios = []
    for _ in range(10):
        with target.session() as session:
            seen = session.measure(bundle / "model.onnx", bundle / "reference.onnx", FINALIST_TIMING)
        ratios.append(seen.ratio)
        print(f"beside its reference: {seen.ratio:.4f} ± {100 * seen.half_width:.1f} %", flush=True)
    print(f"from one to the next: ±{100 * statistics.stdev(ratios) / statistics.fmean(ratios):.1f} % (1 sd)")
    turns = measure_in_turns(bundle / "model.onnx", target, Setting(), Setting())
    spread = 100 * statistics.stdev(turns.ratios)
    print(
        f"in turns with itself: {turns.ratio:.4f}, rounds ±{spread:.1f} % (1 sd), {len(turns.ratios)} rounds"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
