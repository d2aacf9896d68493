"""`autocompress drift BUNDLE LOGS`: whether what a bundle claims still holds where it is used.

Purpose. monitor.py of a bundle writes counts (deploy/bundled/monitor.py). They are compared with the
statistics in manifest.json, which the search kept of its samples (evaluation/sample_statistics.py).

Flow
    logs.py -> Observed;  judge.py: Observed, Manifest -> Drift;  words.py -> lines, page.py -> HTML

Reading order
    logs.py         logs read strictly, and added up. They may be a stranger's
    distances.py    how far two distributions are apart, and whether that is more than chance
    judge.py        Drift: what moved, which claims no longer hold; the thresholds. `drift_of` is for callers
    words.py        the same in sentences
    page.py         the same as a page

What it does not know: the model itself, targets, and who runs the monitor. Nothing of the bundle is run.
"""
