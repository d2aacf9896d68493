"""The board itself: what state it is in, what throttles it, and how its clocks are set.

Purpose. A latency means something only if the clocks were what they were thought to be. Here the device is
asked for its power mode, clocks, temperatures and throttling; pairs that were timed while it throttled are
dropped; and, only if the user asks for it, power mode and clocks are set and put back.

Flow. worker.py holds a Watch during a measurement and asks it after every pair. `targets doctor` sends the
operation `condition`. `--set-clocks` sends `set_clocks`, which starts a guard process: it restores what was
there when the worker ends, however it ends.

Reading order
    state.py       State: what the files of Linux, a Jetson or a Raspberry Pi say; nothing is changed
    tegrastats.py  one line of NVIDIA's tool, for what only root can read elsewhere
    throttling.py  Watch: which pairs are dropped, and the sentence when too many are
    clocks.py      sets the clocks, keeps what was there, restores it; the operation `condition`

What it does not know: models, runtimes, profiles. A profile's power mode comes as a name in the request.
Standard library only, Python 3.8.
"""
