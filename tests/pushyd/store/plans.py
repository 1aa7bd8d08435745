"""How a database means to carry out a statement."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ClauseElement, Connection, Executable
from sqlalchemy.sql.compiler import SQLCompiler

# An automatic index has a number for a name in SQLite, and a table WITHOUT ROWID is its own.
SQLITE_NAMES = {
    "job_nodes_key": "job_nodes USING PRIMARY KEY",
    "jobs_id_unique": "jobs USING INDEX sqlite_autoindex_jobs",
    "output_streams_job_node_channel_unique": "sqlite_autoindex_output_streams",
}


# In tables as small as those of tests PostgreSQL does without indexes where it can.
UNINDEXED = ("seqscan", "bitmapscan", "hashjoin", "mergejoin")


def explain(
    connection: Connection, statement: Executable, parameters: dict[str, Any], *, without: Sequence[str] = UNINDEXED
) -> str:
    """The database's plan for a statement; PostgreSQL's `without` some of its ways, where it can."""
    assert isinstance(statement, ClauseElement)
    compiled = statement.compile(connection, compile_kwargs={"render_postcompile": True})
    assert isinstance(compiled, SQLCompiler)
    values = compiled.construct_params(parameters)
    positions = compiled.positiontup
    arguments = values if positions is None else tuple(values[name] for name in positions)
    if connection.dialect.name == "sqlite":
        command = "EXPLAIN QUERY PLAN"
    else:
        for way in without:
            connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        command = "EXPLAIN"
    rows = connection.exec_driver_sql(f"{command} {compiled}", arguments)
    return "\n".join(str(row[-1]) for row in rows)
