"""What happened is told: webhooks and messages, kept in the database until somebody took them.

Flow. Whoever changes a job calls `outbox.tell` in the same transaction, so that what happened is told, or did
not happen. `Sender` looks for what is due, sends it (`webhooks.py` signs and posts; apprise by the code of
nightly runs), and tries again later what was not taken: after 10 s, 40 s … 3 h, then it gives up.

Reading order: `outbox.py`, `webhooks.py`, `sender.py`.

What it does not know: what a search is. Only addresses of serve.toml are asked, and no redirect is followed.
"""
