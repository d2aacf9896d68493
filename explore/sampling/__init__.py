"""The `front` sampler: it proposes the candidates that are expected to add most to the front.

Purpose. A candidate is a tuple of levels, one for each parameter of a trial (`keep/…`, `precision/…`,
`rank/…`, `skip/…`). The sampler predicts the drop, the size and the latency of any of them, and proposes what
is worth building. Of several targets a candidate's worst size and latency count.

Flow
    A LevelProblem (../space/problem.py) says what levels add to size and latency on each target. A LossTable
    says what they cost in quality. From both the Proposer makes a pool of candidates: solutions of a dynamic
    program for many prices of size and latency, and small changes of good candidates that were observed. It
    scores the pool by the hypervolume that each candidate is expected to add, and proposes the best one. What
    is observed corrects the LossTable and the curve from loss to drop.

Reading order
    proposals.py           Proposer: what to try next, what it is worth, learning from what was observed
    pool.py                Source: fresh candidates to choose from
    losses.py              LossTable: losses by slot and level; DropCurve: from loss to drop
    solve.py               Solver: the best levels for given prices, by dynamic programming
    descent.py             coordinate descent, for the slots that the solver must hold
    mixtures.py            solutions for the worst of several targets
    constrained.py         the best candidate within limits
    moves.py               what single changes cost, and changes that balance each other
    box_decomposition.py   the undominated part of the objective space: what a candidate would add to a front
    observations.py        the candidates that were observed
    sampler.py             FrontSampler: all of that as an Optuna sampler; the only module that imports Optuna

What it does not know: torch, models, devices. Levels behind a closed gate (in a removed block) are always at
the original's.
"""
