"""What runs beside the model, on this machine or on a board: standard library, numpy and one runtime; nothing
of the package.

Purpose. One process, the worker, loads a model in one runtime, runs it and times it. It is started as
`python -P targets/on_device CONFIG`, here or from wherever the folder was copied to. So it must do without
everything else, and with Python 3.8 (JetPack 5).

Flow. The coordinator writes requests as JSON lines; worker.py answers each one. Behind SSH an agent stands
between the two: it keeps files, the lock of the device, and workers.

Reading order
    worker.py    the conversation and the operations
    runtime.py   what a runtime must offer
    runtimes/    the runtimes, a folder each, and the list of them
    timing.py    the ABBA timing loop
    inputs.py    what a model is run with: stored samples, or random ones
    memory.py    peak memory, and a bound for it
    energy.py    joules, where a sensor counts them
    machine.py   what the machine says of itself; load.py: what others use of its processors
    board/       power mode, clocks, temperatures, throttling; setting the clocks
    agent/       the long-lived process on a board behind SSH
    locks.py     where processes of one machine meet

What it does not know: recipes, layers, profiles, or why it is asked.
"""
