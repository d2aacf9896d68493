"""What a run is, on disk and in memory, and everything that reads it.

Purpose. The search writes a Run, everything else reads it: the command line, the report, bundles, `verify`.
The rules of a run (objective vector, excess over limits, front, nearest misses, overlap) stand once, in
`records/`.

Flow: front.json → `run_files.read_run` → `records.run.Run` (all targets) → `view.RunOn` (one of them, with
its `PointOn`) → `pick`, `table`, `why/`, `report/`.

Reading order
    records/          the frozen records, written by `to_json` and read strictly by `from_json`
    view.py           RunOn and PointOn: a run as one of its targets sees it
    front.py          dominance, hypervolume and contributions of objective vectors
    limits.py         Constraints as the user gave them, Limits in the metric's unit, seconds and bytes
    target_limits.py  several targets and their limits as text: `--max-latency cpu=2ms,edge=9ms`
    choosing/         which point to take: one rule for the star, the named points and `pick`
    placed.py         a candidate in one of the runtimes of a device, in words and for programs
    pick.py           one point within limits, and what is said when nothing meets them
    formats.py        the words for numbers: one unit per quantity, every measured number with its spread
    table.py, table_files.py  the front for a terminal; as CSV and JSON
    why/              why a run came out as it did: sentences with numbers
    report/           the report: one HTML file
    compare/          runs beside each other: fronts, policies then and now, what got worse
    words/            words for energies, and for what `verify` measured
    run_directory.py  who may work in a run directory and continue it; run_config.py (run.toml), run_lock.py
    run_files.py      front.json, finetuned/N.json and verify.json as records; damage is one sentence
    activity.py       what a search spends its time on

What it does not know: models, studies, devices, torch.
"""
