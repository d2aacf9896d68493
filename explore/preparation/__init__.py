"""From a request to a search that is ready to run: everything that can be wrong is found before any work.

Purpose. The command line hands over a SearchRequest. This folder loads the task, asks the targets, reads the
model, and refuses what cannot work with one sentence; then it opens the run directory and builds the search.

Reading order
    request.py           SearchRequest: what was asked for, parsed; light, no torch
    early.py             what can be refused before torch is imported
    checked_request.py   CheckedRequest: the same with its task, targets, network and space
    prepare.py           prepare: SearchRequest → CheckedRequest, without writing anything
    measured_sizes.py    the sizes of free dimensions that latency is measured at
    drop_scale.py        whether the original's metric says what a large drop is
    run_facts.py         what must not change to continue a run; what never changes in front.json
    strategy.py          which strategy a request asks for, and who builds beside it
    open_search.py       open_search: CheckedRequest → Search in its run directory
    plan.py              what `search --dry-run` shows
    calibrate_target.py  `targets calibrate`: the latency table of each target

What it does not know: what is tried next, how a candidate is measured, what a point means.
"""
