"""What Alembic runs: the migrations, on the connection and in the transaction that it was given."""

from alembic import context

from pushyd.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    # Its naming convention gives names to the constraints in the migrations.
    target_metadata=metadata,
    # SQLite changes most of a table only by making it anew.
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
