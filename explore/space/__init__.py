"""What may be chosen: channels, depth, precision, rank and recovery, as parameters of an Optuna trial.

Flow. Network and profiles → legality → SearchSpace ⇄ Recipe. The sampler sees the same space as a
LevelProblem: slots, and terms that add up to size and latency.

Reading order
    space.py         SearchSpace: which parameters a trial has, and what recipe they mean
    legality.py      which precisions a target allows a layer, and why not the others
    joint_space.py   what all targets of a search allow
    runtimes.py      what any runtime of a device allows; runtime_choice.py: where a candidate is tried
    seeds.py         the first candidates, before a sampler is asked
    warm.py          the front of an earlier run in the terms of this space
    problem.py       LevelProblem: slots and terms for dynamic programming; numpy alone

What it does not know: what is good. Losses, latencies and results are elsewhere.
"""
