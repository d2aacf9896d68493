"""A board over SSH: the same workers as here, behind OpenSSH and an agent.

Purpose. `Target` does not care where a worker runs. SshTransport has the methods of LocalTransport, and a
Board keeps what several workers share: one connection, the files that were sent, the lock of the device.

Flow. Board.connected() starts the user's ssh, whose remote command reads the agent's source from standard
input (nothing is installed on the board). A session opens a worker there; the worker's package and every file
of a request go to the board once, under their SHA-256. A request is repeated once after a drop of the
connection. Whatever ssh complains of becomes one sentence and a command that mends it.

Reading order
    transport.py   SshTransport: one worker
    board.py       Board: connects, pushes files, locks; the agent's source
    reply.py       what the agent answers
    connection.py  one ssh client: requests and replies by number, a pulse, giving up
    command.py     ssh's arguments
    errors.py      what ssh complained of, and what mends it

What it does not know: runtimes, models, what a request means. on_device/agent/ is the other end.
"""
