"""Damaged inputs of all kinds: how many are refused in one sentence, how many end in a traceback or in a wrong
result.

    python benchmarks/damage.py [COUNT_OF_EACH_KIND [KIND ...]]

Prints a table by kind, then each trial that went wrong with its seed. The files are real ones; tests/damaging/
says what is done to them and what uses them. 25 of each kind take about three minutes. `.safetensors` files
are left out: they have no checksum, so that nothing can notice a changed value in them.
"""

import logging
import sys
from collections import Counter
from typing import get_args

from autocompress.tests.damaging.kinds import KINDS
from autocompress.tests.damaging.trial import Outcome, trials

OUTCOMES: tuple[str, ...] = get_args(Outcome)


def main(count: int, *names: str) -> None:
    """Prints the table and what went wrong."""
    logging.disable(logging.WARNING)  # the notes of caches
    print(f"{'':30} {'inputs':>7} " + " ".join(f"{outcome:>16}" for outcome in OUTCOMES))
    total, wrong = Counter[str](), []
    for kind in KINDS:
        if names and kind.name not in names:
            continue
        done = list(trials(kind, range(count)))
        counted = Counter[str](trial.outcome for trial in done)
        total += counted
        wrong += [(kind.name, each) for each in done if each.outcome in ("traceback", "silently wrong")]
        print(_row(kind.name, counted), flush=True)
    print(_row("all", total))
    for name, trial in wrong:
        print(f"\n{name}, seed {trial.seed}: {trial.file}, {trial.how}: {trial.outcome}\n{trial.text}")


def _row(name: str, counted: Counter[str]) -> str:
    numbers = " ".join(f"{counted[outcome]:16}" for outcome in OUTCOMES)
    return f"{name:30} {counted.total():7} {numbers}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 25, *sys.argv[2:])
