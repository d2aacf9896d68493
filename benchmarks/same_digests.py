"""Whether runs tried the same candidates: by trial, the digests of recipe and artifacts that differ.

    python benchmarks/same_digests.py RUN RUN [RUN …]

Prints one line for each trial and how many are equal; exits with code 1 when one differs. It only reads the
runs, in a second. `search --deterministic` promises that all are equal (docs/search.md).
"""

import sys
from pathlib import Path

from autocompress.results.run_directory import read_run

Digests = dict[int, tuple[str, ...]]


def digests(run: Path) -> Digests:
    """By trial, the digests of its recipe and of its artifact on each target."""
    return {
        point.trial: (
            point.recipe.digest,
            *(point.outcomes[name].artifact.digest for name in sorted(point.outcomes)),
        )
        for point in read_run(run).points
    }


def main() -> int:
    """Compares the runs that the command line names."""
    runs = [digests(Path(name)) for name in sys.argv[1:]]
    trials = sorted(set().union(*runs))
    different = 0
    for trial in trials:
        shown = [" ".join(digest[:12] for digest in run.get(trial, ("missing",))) for run in runs]
        same = len({run.get(trial) for run in runs}) == 1
        different += not same
        print(f"trial {trial}: " + (f"equal ({shown[0]})" if same else "DIFFERENT: " + " | ".join(shown)))
    print(f"{len(trials) - different} of {len(trials)} trials are equal.")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
