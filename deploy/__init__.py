"""What comes after the search: bundles, verification, and longer training of one point.

Purpose. A point of a run becomes something that is used: a folder with the model, what it is and how to run
it. Later, `verify` measures a run or a bundle again, beside what it says of itself.

Flow
    pick      results/pick.py chooses a point -> finetune.py (on request) -> bundle.py writes the folder
    verify    verify_run.py, for each target: verify.py -> verify.json
              verify_bundle.py: read_bundle.py -> the target

Reading order
    bundle.py           write_bundle: model, reference, manifest.json, run.py, checksums; wholly or not at all
    bundled/            what its files hold: run.py, the model's metadata, the packed model
    reference.py        what a bundle is compared with: the original, or a workload
    read_bundle.py      a bundle read strictly: checksums, manifest, model
    sides.py            a run or a bundle as a side of a comparison (results/compare/)
    asked_targets.py    which targets are measured on: those that the user gives, or ours and here
    given_task.py       the task that the user gives; why that of a file is not loaded
    scoring.py          how quality is looked at
    verify.py           the points of a run on one target, then and now; what counts as regressed
    unfinished.py       what an interrupted `verify RUN` has measured
    verify_run.py       `verify RUN`: all its targets
    verify_bundle.py    `verify BUNDLE`
    registry/           `push`: a bundle as a version in MLflow or in a folder
    drift/              `drift BUNDLE LOGS`: what the monitor of a bundle counted, beside its claims
    finetune.py         `pick --finetune`: a point recovered for longer, measured like a finalist

The records that are written and read here (Manifest, Verification, BundleVerification) are in
results/records/; their words for people are in results/words/verified.py.

What it does not know: how candidates are found, and the command line.
"""
