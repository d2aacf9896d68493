"""Who may do what: users, tokens, sessions of a browser, the audit log.

Flow. A request carries a token (`Authorization: Bearer …`) or the cookie of a session, which a login form
gave for a token. `tokens.Access` turns either into a `Caller`. Whoever changes something writes into the
audit log in the same transaction (`audit.record`).

Reading order: `caller.py` (who calls, and what the scopes allow), `tokens.py` (users, tokens, sessions),
`audit.py` (the log), `rates.py` (how many requests a caller may make), `provider.py` and `oidc.py` (people
whom an OpenID provider vouches for).

What it does not know: our own HTTP. No secret is stored: only its SHA-256 is.
"""
