"""Searches of a service as tools of the Model Context Protocol, for assistants that are language models.

Flow. `autocompress mcp` is started by a client (an editor, a chat program) and speaks the protocol on
standard input and output. A tool asks the running service by `service.client.Client`, and answers a record
whose JSON schema the client has. The service's errors come back as results that are errors, one sentence
each.

Reading order
    arguments.py  types of arguments, with what a model must know of them
    answers.py    what the tools answer of searches; more_answers.py: of tasks, recipes, machines, nights
    looking.py    tools that look at searches and at what there is
    changing.py   tools that submit and change searches; only with --allow-changes
    server.py     the tools with their hints, instructions, errors: the one module that imports `mcp`

Texts of other people (names, logs, messages) are data, as the instructions to the model say; characters that
nobody sees, and secrets, are made visible or kept out before they leave.

What it does not know: HTTP, the database, files of runs. It needs the extra `mcp`, not `service`.
"""
