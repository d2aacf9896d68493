"""Workers: they claim jobs by HTTP, run the command, and report. The client of the service is here, too.

Flow. `worker.work` asks for a job again and again. `searching.Searching` starts `autocompress search` as a
child process with limits and a small environment (`child.py`), reads the events that it prints (`said.py`),
sends them with heartbeats, and stops it safely when that is wanted, when the lease is lost, or when the
worker ends. A worker with a disk of its own fetches what the service has of the run, and sends what
is new (`syncing.py`).

Reading order: `connection.py` (HTTP, errors), `worker.py`, `searching.py`, `said.py`, `child.py`,
`syncing.py`.

What it does not know: the database. Which code a task is, a worker reads from its own serve.toml: a service
cannot send any.
"""
