"""Several boards of one kind as one target: what is measured goes to whichever is free.

Purpose. `--target jetson@a+b` is one target with one front. Boards has the methods of Target that a search
calls, and a Target for each board, all with one store and one reference latency.

Flow. Boards.probe() asks all boards; those whose environments differ in more than the machine's identity are
refused. Boards.free() gives a board on which nobody works. Before the first measurement beside a baseline,
alike.py times that baseline on all boards in turns (A/A): the ratio must be 1. A board that is lost is left
out, and asked again after a while.

Reading order
    boards.py   Boards: which board is free, which are lost
    alike.py    whether two boards are of one kind

What it does not know: models, candidates, how a latency is taken (../target.py), SSH (../ssh).
"""
