"""The records of a run: frozen, validated, written by `to_json` and read by `from_json` alone.

Purpose. One model of what a search found, for whoever makes it (search, deploy) and whoever reads it (tables,
reports, picks, verification). A record that exists is valid: its `__post_init__` refuses what cannot be.

Reading order
    reading.py       Fields: strict reading of JSON; every refusal names its place
    latency.py       Latency (measured) and Predicted: two types, so that none passes for the other
    energy.py        Energy: joules per inference, where a sensor counted them
    point.py         Point, and what it is on each target: Measured or Missing; Failure, LayerRow, Quality
    facts.py         RunFacts: task, targets and model, known before the first candidate
    progress.py      SearchFacts: sensitivities, latency tables, rungs, where the time went
    run.py           Run: all of it, and the rules: objective vector, excess over limits, front, misses
    verification.py  Verification: what `verify RUN` measured
    manifest.py      Manifest: what a bundle says of itself
    version2.py      front.json of schema version 2, read as a Run

What it does not know: files and folders (run_directory.py), texts for people (formats.py), torch.
"""
