"""The agent: the one long-lived process on a device that is reached over SSH.

Purpose. A coordinator far away needs files on the device, the device for itself while it measures, and
workers. The agent gives it all three over one connection, and ends with everything that it started when that
connection ends.

Flow. targets/ssh/board.py sends the source of these modules over standard input; nothing is installed. Then
come JSON lines: files are put into the store, a session opens a worker, a request goes to the worker, and its
reply goes back with the files that it wrote.

Reading order
    agent.py     the conversation, the alarm that ends it, what `targets doctor` looks at
    store.py     files by their SHA-256: bounded, verified, pinned while they are used
    lock.py      the lock of the device: one measurement alone, other work together
    sessions.py  workers that answer requests; one stands by for the next session
    worker.py    one worker process; process.py: whether it stands still

What it does not know: models, runtimes, what a worker is asked. Standard library only, Python 3.8. Modules
are loaded in the order that board.py lists, so they may import only those before them.
"""
