"""Jobs in a table: a queue with leases, so that nothing is lost and nothing runs twice.

Flow. `jobs.Jobs` takes orders and requests (pause, resume, cancel, another budget) and reads jobs back.
`claims.Claims` is the workers' side: a worker claims a queued job, which gives it a lease and a number, the
attempt; each heartbeat renews the lease and hears what is wanted; the end says how the command ended. A lease
that runs out makes the job queued again. Whoever comes with an old attempt is refused (`LeaseLost`).

    queued -> running -> finished | failed | paused | cancelled        paused, failed, cancelled -> queued

A job has its boards (devices) as long as it runs: one job at a time has a board, over all workers.

Reading order: `job.py` (the record), `jobs.py`, `claims.py`, `devices.py`, `events.py` (the log of a job).

What it does not know: HTTP, processes, what a search is.
"""
