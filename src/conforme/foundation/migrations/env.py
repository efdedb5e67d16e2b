"""Runs the migrations on the connection it is given."""

from alembic import context

from conforme.foundation.database import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
