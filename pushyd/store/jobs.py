"""The statements about jobs. Each function runs in a thread of the store, on a connection that it is given.

How many statements a job takes does not depend on how many nodes it has; :mod:`pushyd.store.bulk` says why.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    Boolean,
    Connection,
    Integer,
    LargeBinary,
    Row,
    Text,
    bindparam,
    cast,
    func,
    insert,
    literal_column,
    select,
    update,
)

from pushy_protocol.states import JobStatus, NodeStatus
from pushyd.domain.job import JobSpec
from pushyd.store.bulk import INSERTS, Insert, JsonItem, JsonRows, JsonTable, JsonTexts, encode_rows, encode_texts
from pushyd.store.changes import coalesce
from pushyd.store.interface import (
    AbortRequest,
    Change,
    FeedText,
    JobStatusChange,
    NodeDetail,
    NodeStatusChange,
    StoredJob,
)
from pushyd.store.job_lists import decode_env, digest
from pushyd.store.output_interface import OutputCaptured, OutputEnd
from pushyd.store.outputs import begin_job, write_captured, write_ends
from pushyd.store.schema import FEW_NODES, feeds, job_nodes, jobs, output_jobs, unfinished
from pushyd.store.text import unescape

# Rows that come as a parameter, and the seq of a job whose id does.
_rows = JsonRows(bindparam("rows", type_=Text())).table_valued("value", name="rows")
_items = [JsonItem(_rows.c.value, literal_column(str(index))) for index in range(7)]
_seq = select(jobs.c.seq).where(jobs.c.id == bindparam("job_id")).scalar_subquery()


def create_job(connection: Connection, spec: JobSpec) -> None:
    """Insert a job, `new`, and its nodes."""
    seq = connection.execute(
        insert(jobs).returning(jobs.c.seq),
        {
            "id": spec.id,
            "organization": spec.organization,
            "status": JobStatus.NEW,
            "created_at": spec.created_at,
            "updated_at": spec.created_at,
            "created_by": spec.created_by,
            "quorum": spec.quorum,
            "run_timeout": spec.run_timeout,
            "voting_timeout": spec.voting_timeout,
            "node_count": len(spec.nodes),
            "capture": spec.capture,
            "aborting": False,
            "user_name": spec.user,
            "dir": spec.dir,
            "command_digest": digest(spec.command),
            "command": spec.command,
            "env": None if spec.env is None else json.dumps(dict(spec.env)),
            "file": spec.file,
        },
    ).scalar_one()
    by_node = len(spec.nodes) <= FEW_NODES
    connection.execute(_INSERT_NODES, {"seq": seq, "names": encode_texts(spec.nodes), "by_node": by_node})
    if spec.capture:
        begin_job(connection, seq, spec.output_limit, live=spec.live)


_names = JsonTexts(bindparam("names", type_=Text())).table_valued("position", "value", name="names")
_INSERT_NODES = insert(job_nodes).from_select(
    ["job", "position", "node", "status", "by_node"],
    select(
        bindparam("seq", type_=job_nodes.c.job.type),
        _names.c.position,
        _names.c.value,
        bindparam("status", NodeStatus.NEW, type_=Text()),
        bindparam("by_node", type_=Boolean()),
    ),
)


def write_changes(connection: Connection, changes: Iterable[Change]) -> None:
    """Write what is left of `changes`. Those of a job or a node that is not there (any more) leave nothing."""
    by_kind: defaultdict[type[Change], list[Any]] = defaultdict(list)
    for change in coalesce(changes):
        by_kind[type(change)].append(change)
    for kind, write in _WRITERS.items():
        if of_kind := by_kind.get(kind):
            write(connection, of_kind)


def _write_nodes(connection: Connection, changes: Iterable[NodeStatusChange]) -> None:
    rows: defaultdict[str, list[_NodeRow]] = defaultdict(list)
    for change in changes:
        rows[change.job_id].append(_node_row(change))
    for job_id, of_job in rows.items():
        connection.execute(_SET_NODES, {"job_id": job_id, "rows": encode_rows(of_job)})


def _write_jobs(connection: Connection, changes: Iterable[JobStatusChange]) -> None:
    rows = [{"job_id": change.job_id, "new_status": change.status, "at": change.at} for change in changes]
    connection.execute(_SET_JOB, rows)


def _write_aborts(connection: Connection, changes: Iterable[AbortRequest]) -> None:
    connection.execute(_SET_ABORTING, [{"job_id": change.job_id} for change in changes])


def _write_feeds(connection: Connection, changes: Iterable[FeedText]) -> None:
    rows = [{"job_id": change.job_id, "first": change.first, "text": change.text} for change in changes]
    connection.execute(_INSERT_FEED[connection.dialect.name], rows)


# In this order; they concern different things.
_WRITERS: Mapping[type[Change], Callable[[Connection, Any], None]] = {
    OutputCaptured: write_captured,
    OutputEnd: write_ends,
    NodeStatusChange: _write_nodes,
    JobStatusChange: _write_jobs,
    AbortRequest: _write_aborts,
    FeedText: _write_feeds,
}


_NodeRow = tuple[str, NodeStatus, str | None, int | None, int | None, int | None, int | None]
"""A node's name, and what :data:`_DETAILS` holds."""

# What is kept of a node's part in a job.
_DETAILS = tuple(
    job_nodes.c[name] for name in ("status", "reason", "exit_status", "signal", "started_ms", "finished_ms")
)

# Materialized, or SQLite reads all rows anew for each node of the job: quadratic.
_changed = (
    select(*(item.label(f"item_{index}") for index, item in enumerate(_items)))
    .select_from(_rows)
    .cte("changed")
    .prefix_with("MATERIALIZED")
)
_SET_NODES = (
    update(job_nodes)
    .where(job_nodes.c.job == _seq, job_nodes.c.node == _changed.c[0])
    .values({column: cast(item, column.type) for column, item in zip(_DETAILS, _changed.c[1:], strict=True)})
)


def _node_row(change: NodeStatusChange) -> _NodeRow:
    detail = change.detail
    return (
        change.node,
        change.status,
        detail.reason,
        detail.exit_status,
        detail.signal,
        _milliseconds(detail.started_at),
        _milliseconds(detail.finished_at),
    )


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


_SET_JOB = (
    update(jobs)
    .where(jobs.c.id == bindparam("job_id"))
    .values(status=bindparam("new_status"), updated_at=bindparam("at"))
)


_SET_ABORTING = update(jobs).where(jobs.c.id == bindparam("job_id")).values(aborting=True)

# Of a job that is not there (any more) nothing is kept. A piece that is there already is a repetition; it may go on
# with more, where a commit was taken for a failure.
_piece = select(jobs.c.seq, bindparam("first", type_=Integer()), bindparam("text", type_=LargeBinary())).where(
    jobs.c.id == bindparam("job_id")
)


def _longer(insert_piece: Insert) -> Insert:
    longer = insert_piece.excluded.text
    return insert_piece.on_conflict_do_update(
        index_elements=[feeds.c.job, feeds.c.first],
        set_={"text": longer},
        where=func.length(longer) > func.length(feeds.c.text),
    )


_INSERT_FEED = {
    dialect: _longer(into(feeds).from_select(["job", "first", "text"], _piece)) for dialect, into in INSERTS.items()
}


def read_job(connection: Connection, organization: str, job_id: str) -> StoredJob | None:
    """One job, whole."""
    row = connection.execute(_JOB, {"organization": organization, "job_id": job_id}).first()
    return None if row is None else _stored_job(row)


def unfinished_jobs(connection: Connection) -> Sequence[StoredJob]:
    """The jobs that have not ended, oldest first."""
    return [_stored_job(row) for row in connection.execute(_UNFINISHED_JOBS)]


_nodes = (
    select(job_nodes.c.node, *_DETAILS)
    .where(job_nodes.c.job == jobs.c.seq)
    .order_by(job_nodes.c.position)
    .correlate(jobs)
    .subquery("nodes")
)
_whole_jobs = select(
    jobs, output_jobs.c.byte_limit, output_jobs.c.live, select(JsonTable(*_nodes.c)).scalar_subquery().label("nodes")
).outerjoin(output_jobs)
_JOB = _whole_jobs.where(jobs.c.organization == bindparam("organization"), jobs.c.id == bindparam("job_id"))
_UNFINISHED_JOBS = _whole_jobs.where(unfinished).order_by(jobs.c.seq)


def _stored_job(row: Row[tuple[object, ...]]) -> StoredJob:
    decoded = msgspec.json.decode(row.nodes, type=list[_NodeRow])
    nodes = {unescape(node): status for node, status, *_ in decoded}
    return StoredJob(
        spec=JobSpec(
            id=row.id,
            organization=row.organization,
            command=row.command,
            nodes=tuple(nodes),
            quorum=row.quorum,
            run_timeout=row.run_timeout,
            voting_timeout=row.voting_timeout,
            created_at=row.created_at,
            created_by=row.created_by,
            user=row.user_name,
            dir=row.dir,
            env=decode_env(row.env),
            file=row.file,
            capture=row.capture,
            output_limit=row.byte_limit,
            live=bool(row.live),
        ),
        status=JobStatus(row.status),
        updated_at=row.updated_at,
        nodes=nodes,
        aborting=row.aborting,
        details=_Details({unescape(one[0]): one for one in decoded if one[2:] != _NOTHING_KNOWN}),
    )


_NOTHING_KNOWN = (None,) * 5


class _Details(Mapping[str, NodeDetail]):
    """What is known of nodes, made of their rows as it is asked for: most who read a job of thousands do not."""

    def __init__(self, rows: Mapping[str, _NodeRow]) -> None:
        self._rows = rows

    def __getitem__(self, node: str) -> NodeDetail:
        return _detail(self._rows[node])

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _detail(node_row: _NodeRow) -> NodeDetail:
    _, _, reason, exit_status, signal, started, finished = node_row
    return NodeDetail(
        reason=None if reason is None else unescape(reason),
        exit_status=exit_status,
        signal=signal,
        started_at=None if started is None else started / 1000,
        finished_at=None if finished is None else finished / 1000,
    )


def read_feed(connection: Connection, job_id: str) -> bytes:
    """The pieces of a job's feed, put together."""
    return b"".join(connection.execute(_FEED, {"job_id": job_id}).scalars())


_FEED = (
    select(feeds.c.text)
    .join(jobs, jobs.c.seq == feeds.c.job)
    .where(jobs.c.id == bindparam("job_id"))
    .order_by(feeds.c.first)
)
