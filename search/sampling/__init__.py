"""The `front` sampler: what it knows of a problem, how it proposes candidates, and its Optuna side.

A problem is a tuple of slots, one for each parameter of a trial that is a level (`keep/…`, `precision/…`,
`rank/…`, `skip/…`), and terms that add up to a candidate's size and latency. What a level costs in quality is
in a loss table, which is corrected by whatever is observed.

Reading order
    problem.py      Slot, Term, Problem: levels in, size and latency ratios out; data only
    solve.py        Solver: the best levels for given prices of loss, latency and size, by dynamic programming
    descent.py      coordinate descent over everything, for the slots that the solver must hold
    constrained.py  the same within limits
    losses.py       LossTable: losses by slot and level, corrected by whole candidates; DropCurve: from loss to drop
    moves.py        what single changes cost, and neighbours at matched cost
    boxes.py        the undominated part of the objective space: what a candidate would add to a front
    known.py        Known: the candidates that were observed
    proposals.py    Proposer: what to try next, what it is worth, learning from what was seen
    sampler.py      FrontSampler: all of that as an Optuna sampler; the only module that imports Optuna

It knows no torch, no model and no device. Levels behind a closed gate (in a removed block) are always at the
original's.
"""
