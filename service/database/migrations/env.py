"""What Alembic runs: the migrations, on the connection and in the transaction of opened.py."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, render_as_batch=True)
context.run_migrations()
