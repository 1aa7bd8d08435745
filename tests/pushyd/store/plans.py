"""How a database means to carry out a statement."""

from typing import Any

from sqlalchemy import ClauseElement, Connection, Executable
from sqlalchemy.sql.compiler import SQLCompiler

# An automatic index has a number for a name in SQLite, and a table WITHOUT ROWID is its own.
SQLITE_NAMES = {
    "job_nodes_key": "job_nodes USING PRIMARY KEY",
    "jobs_id_unique": "jobs USING INDEX sqlite_autoindex_jobs",
    "outputs_key": "outputs USING INDEX sqlite_autoindex_outputs",
}


def explain(connection: Connection, statement: Executable, parameters: dict[str, Any]) -> str:
    """The database's plan for a statement."""
    assert isinstance(statement, ClauseElement)
    compiled = statement.compile(connection, compile_kwargs={"render_postcompile": True})
    assert isinstance(compiled, SQLCompiler)
    values = compiled.construct_params(parameters)
    positions = compiled.positiontup
    arguments = values if positions is None else tuple(values[name] for name in positions)
    if connection.dialect.name == "sqlite":
        command = "EXPLAIN QUERY PLAN"
    else:
        # In tables this small PostgreSQL does without indexes where it can; here is asked whether it can with them.
        for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin"):
            connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        command = "EXPLAIN"
    rows = connection.exec_driver_sql(f"{command} {compiled}", arguments)
    return "\n".join(str(row[-1]) for row in rows)
