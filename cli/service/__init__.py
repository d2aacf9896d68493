"""The commands of the service, one file each: `serve`, `submit`, `worker`, `mcp`.

Flow. Options become a record (Serving, Order, Place), which one function of `service/` takes. The extra
`service` is needed by `serve` alone, `mcp` by the command of that name; all but `serve` speak HTTP with the
standard library.

The token comes from the environment (AUTOCOMPRESS_TOKEN) alone: others see a command line.

Reading order: `shared.py` (folder, serve.toml, token), then the command.
What it does not know: jobs, HTTP, processes.
"""
