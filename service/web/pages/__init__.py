"""Pages for people: HTML from templates, which work without a script and are livelier with one.

Flow. `routes.py` takes the caller from the cookie (`/login` gives one for a token), asks the same parts as
REST, and fills a template of `templates/`. `static/` has the style and the scripts: what changes while a
search runs is fetched again when a server-sent event says so. Nothing comes from another machine.

Reading order: `routes.py`, `parts.py` (the parts of a search's page), `new_search.py` with `forms.py` (forms
with files), `upload_pages.py`, `templates/`, `static/live.js`, `static/new.js`.

What it does not know: SQL, processes. Every text is escaped by Jinja2; no page has an inline script.
"""
