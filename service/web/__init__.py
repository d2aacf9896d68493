"""HTTP: REST below /v1, pages for people, streams, and what protects them.

Flow. `app.make_app` puts it together. A request passes `protection.py` (host, body, rate, time, headers),
then `callers.py` says who asks and whether the token allows it, then a route calls `queue/`, `access/` or
reads a run. Every error becomes a problem (RFC 9457) with the sentence of the command line, in `problems.py`.

Reading order
    state.py       what the routes share
    callers.py     tokens, cookies, forms that prove where they come from
    schemas.py     what goes in and out: OpenAPI is made of it; more_schemas.py: besides searches
    receiving.py   bodies that are files of a run; machines.py: workers, boards, the disk
    routes/        REST
    pages/         HTML

What it does not know: how jobs are kept, and that there is a process behind a search.
"""
