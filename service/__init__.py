"""The service: searches for a team, by REST, by web pages and by workers on many machines.

Purpose. A job is a search in a run directory that the same command would continue. The service keeps jobs in
a table, hands them to workers, and shows what comes of them. It computes nothing itself.

Flow. `web/` takes an order and `queue/` stores it as a job. A worker (`work/`) claims the job by HTTP, starts
`autocompress search` as a child process, and reports what it prints with each heartbeat. Its run directory
is what `web/` shows. A worker that is killed loses its lease; the next one starts the same command, which
goes on.

Reading order
    config.py    serve.toml: registered tasks, devices, limits; listed.py: webhooks, registries, nightly files
    tasks.py     which tasks there are, and whether an order's arguments fit their functions
    order.py     what is asked for: task, target, limits, budget
    database/    tables, migrations, transactions on SQLite and PostgreSQL
    queue/       jobs, claims with leases, devices
    access/      users, tokens, sessions of the browser, the audit log
    telling/     webhooks and messages, from an outbox in the database
    nights/      nightly runs: their files, and when they begin
    work/        the worker, and the client that speaks to the service
    web/         REST, pages, streams, what protects them
    mcp/         the same for assistants: tools of the Model Context Protocol
    uploads.py   files that people upload; upload_kinds.py: which kinds are taken, onnx_scan.py: ONNX
    traces.py    OpenTelemetry: spans of requests and searches
    saving/      backup and restore
    serving.py   starts all of it: `autocompress serve`

What it does not know: how a search works, how a latency is taken. It imports no torch.
"""
