"""The routes of REST, one file for each noun.

Flow. A route takes its caller and its input as types (`callers.py`, `schemas.py`), asks `queue/`, `access/`
or a run, and returns a record of `schemas.py`. Errors are raised in the words of the command line.

Reading order
    searches.py    jobs: submit, list, pause, resume, cancel, budget
    results.py     the front, points, layers, failures, picks, bundles of a job
    nights.py      nightly runs
    streams.py     server-sent events
    work.py        the workers' side
    operations.py  health, metrics, machines

What it does not know: HTML, SQL.
"""
