"""A node of a Ray cluster as a board: the same agent and the same workers as over SSH, behind a Ray actor.

Purpose. `--target edge@ray` is measured on the node that has the resource `target:edge`. To a Board the
client here is what OpenSSH's is: a process whose standard input and output are those of a command elsewhere.

Flow. Board starts client.py with the cluster's address, the resource and the agent's command. The client
takes the resource for an actor, whose methods write, read and close the agent's pipes. It ends with the
agent; when the client is killed, Ray ends the actor, and the agent ends because its input closes. A lost node
is a dropped connection: Board connects again, to whichever node has the resource then.

Reading order
    command.py   the client's arguments, and what its complaints mean
    client.py    the client: a script that imports ray, and nothing of the package

What it does not know: what the bytes mean, workers, models, who builds on the cluster (explore/beside).
"""
