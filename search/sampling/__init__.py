"""The `front` sampler: what it knows of a problem, how it proposes candidates, and its Optuna side.

A problem is a tuple of slots, one for each parameter of a trial that is a level (`keep/…`, `precision/…`, `rank/…`, `skip/…`), and
terms that add up to a candidate's size and latency. What a level costs in quality is in a loss table, which is corrected by
whatever is observed.

Reading order
    problem.py    Slot, Term, Problem: levels in, size and latency ratios out; data only
"""
