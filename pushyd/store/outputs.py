"""The statements about output. Each function runs in a thread of the store, on a connection that it is given.

How many statements an append takes does not depend on how many nodes write; :mod:`pushyd.store.bulk` says why, and why
bytes come back as hexadecimal digits in JSON.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from attrs import define, field
from sqlalchemy import (
    BigInteger,
    Cast,
    Connection,
    Integer,
    LargeBinary,
    Text,
    and_,
    bindparam,
    cast,
    func,
    insert,
    literal_column,
    select,
    true,
    update,
)

from pushyd.store.bulk import INSERTS, Insert, JsonItem, JsonRows, JsonTable, encode_rows
from pushyd.store.output_interface import (
    DEFAULT_OUTPUT_LIMIT,
    LINE_BYTES,
    Appended,
    OutputCaptured,
    OutputEnd,
    OutputPiece,
    OutputRules,
    StreamRef,
)
from pushyd.store.schema import job_nodes, jobs, output_chunks, output_jobs, output_streams
from pushyd.store.text import unescape

_BYTES_AT_ONCE = 8 * 1024 * 1024

_rows = JsonRows(bindparam("rows", type_=Text())).table_valued("value", name="rows")
_items = [JsonItem(_rows.c.value, literal_column(str(index))) for index in range(7)]


def _number(index: int) -> Cast[int]:
    return cast(_items[index], BigInteger)


_piece = func.substr(bindparam("data", type_=LargeBinary()), cast(_items[5], Integer), cast(_items[6], Integer))


@define
class _Job:
    """How much a job keeps, and may."""

    seq: int
    limit: int
    kept: int


@define
class _Stream:
    """A stream as it is, and what is to be added to it."""

    job: _Job
    taken: int
    kept: int
    problem: str | None
    added: list[tuple[int, int, bytes]] = field(factory=list)  # offset, time, data


def append(connection: Connection, pieces: Sequence[OutputPiece], rules: OutputRules, free: int | None) -> Appended:
    """See :meth:`OutputStore.append_output`. `free` is how much of the disk is, where that is known."""
    streams = _streams(connection, dict.fromkeys(piece.stream for piece in pieces))
    no_room = None
    if free is not None and free < rules.min_free_disk:
        no_room = f"the server's disk has {free} bytes free, less than min_free_disk ({rules.min_free_disk})"
    nowhere: dict[StreamRef, int] = {}
    for piece in pieces:
        stream = streams.get(piece.stream)
        if stream is None:
            end = piece.offset + len(piece.data)
            nowhere[piece.stream] = max(end, nowhere.get(piece.stream, 0))
        elif no_room:
            stream.problem = no_room
        else:
            _add(stream, piece, rules)
    _write(connection, streams)
    offsets = {ref: stream.taken for ref, stream in streams.items()} | nowhere
    return Appended(offsets=offsets, kept={ref: stream.added for ref, stream in streams.items()}, no_room=no_room)


def _add(stream: _Stream, piece: OutputPiece, rules: OutputRules) -> None:
    data = piece.data[max(0, stream.taken - piece.offset) :]
    if piece.offset > stream.taken or not data:
        return
    job = stream.job
    limit = min(job.limit, rules.max_output)
    of_stream = limit + LINE_BYTES - stream.kept
    of_job = rules.max_job_output - job.kept
    room = max(0, min(of_stream, of_job)) if stream.kept == stream.taken else 0  # what is kept has no holes
    if room < len(data):
        stream.problem = (
            stream.problem
            if stream.kept < stream.taken
            else (
                f"output beyond the limit of {limit} bytes is not kept"
                if of_stream <= of_job
                else f"the output of the job is over max_job_output ({rules.max_job_output})"
            )
        )
    else:
        stream.problem = None
    kept = data[:room]
    if kept:
        stream.added.append((stream.kept, piece.at, kept))
    stream.taken += len(data)
    stream.kept += len(kept)
    job.kept += len(kept)


def _streams(connection: Connection, refs: Iterable[StreamRef]) -> dict[StreamRef, _Stream]:
    """The streams as they are; those that will never be are left out."""
    known = list(refs)
    text = connection.execute(
        _STREAMS, {"rows": encode_rows((*ref, place) for place, ref in enumerate(known))}
    ).scalar()
    jobs_by_seq: dict[int, _Job] = {}
    streams = {}
    for place, seq, limit, job_kept, taken, kept, problem in msgspec.json.decode(text or "[]", type=list[_StreamRow]):
        job = jobs_by_seq.setdefault(seq, _Job(seq, DEFAULT_OUTPUT_LIMIT if limit is None else limit, job_kept))
        streams[known[place]] = _Stream(job, taken or 0, kept or 0, None if problem is None else unescape(problem))
    return streams


_StreamRow = tuple[int, int, int | None, int, int | None, int | None, str | None]

_STREAMS = select(
    JsonTable(
        _number(4),
        jobs.c.seq,
        output_jobs.c.byte_limit,
        output_jobs.c.kept,
        output_streams.c.taken,
        output_streams.c.kept,
        output_streams.c.problem,
    )
).select_from(
    _rows.join(jobs, and_(jobs.c.id == _items[1], jobs.c.organization == _items[0]))
    .join(output_jobs, output_jobs.c.job == jobs.c.seq)
    .join(job_nodes, and_(job_nodes.c.job == jobs.c.seq, job_nodes.c.node == _items[2]))
    .outerjoin(
        output_streams,
        and_(
            output_streams.c.job == jobs.c.seq,
            output_streams.c.node == _items[2],
            output_streams.c.channel == _items[3],
        ),
    )
)


def _write(connection: Connection, streams: Mapping[StreamRef, _Stream]) -> None:
    if not streams:
        return
    dialect = connection.dialect.name
    rows = [
        (stream.job.seq, ref.node, ref.channel, stream.taken, stream.kept, stream.problem)
        for ref, stream in streams.items()
    ]
    connection.execute(_SET_STREAMS[dialect], {"rows": encode_rows(rows)})
    jobs_rows = {stream.job.seq: stream.job.kept for stream in streams.values() if stream.added}
    if jobs_rows:
        connection.execute(_SET_JOBS, {"rows": encode_rows(jobs_rows.items())})
    pieces = (
        ((stream.job.seq, ref.node, ref.channel, offset, at), data)
        for ref, stream in streams.items()
        for offset, at, data in stream.added
    )
    for piece_rows, data in pack(pieces):
        connection.execute(_INSERT_CHUNKS[dialect], {"rows": encode_rows(piece_rows), "data": data})


def pack(pieces: Iterable[tuple[tuple[int | str, ...], bytes]]) -> Iterator[tuple[list[tuple[int | str, ...]], bytes]]:
    """Rows, each with where its piece lies (start, length) at the end, and what they are pieces of: some MB at once."""
    # SQLite takes a piece of nothing for NULL, so there is always a byte in front; the first one counts as 1.
    rows: list[tuple[int | str, ...]] = []
    packed = bytearray(1)
    for row, data in pieces:
        rows.append((*row, len(packed) + 1, len(data)))
        packed += data
        if len(packed) > _BYTES_AT_ONCE:
            yield rows, bytes(packed)
            rows, packed = [], bytearray(1)
    if rows:
        yield rows, bytes(packed)


_of_row = and_(
    output_streams.c.job == _number(0),
    output_streams.c.node == _items[1],
    output_streams.c.channel == _items[2],
)
_STREAM_KEY = [output_streams.c.job, output_streams.c.node, output_streams.c.channel]


def _replacing(insert_stream: Insert) -> Insert:
    new = insert_stream.excluded
    return insert_stream.on_conflict_do_update(
        index_elements=_STREAM_KEY, set_={"taken": new.taken, "kept": new.kept, "problem": new.problem}
    )


_SET_STREAMS = {
    dialect: _replacing(
        into(output_streams).from_select(
            ["job", "node", "channel", "taken", "kept", "problem"],
            # SQLite needs the WHERE to tell this ON from that of a join.
            select(_number(0), _items[1], _items[2], _number(3), _number(4), _items[5]).where(true()),
        )
    )
    for dialect, into in INSERTS.items()
}

_SET_JOBS = update(output_jobs).where(output_jobs.c.job == _number(0)).values(kept=_number(1))

_chunks = (
    select(output_streams.c.job, output_streams.c.id, _number(3), _number(4), _piece)
    .select_from(_rows.join(output_streams, _of_row))
    .where(true())
)
# A chunk that is there already is a repetition.
_INSERT_CHUNKS = {
    dialect: into(output_chunks)
    .from_select(["job", "stream", "first", "at", "data"], _chunks)
    .on_conflict_do_nothing(index_elements=[output_chunks.c.stream, output_chunks.c.first])
    for dialect, into in INSERTS.items()
}


def write_captured(connection: Connection, captured: Iterable[OutputCaptured]) -> None:
    """Keep whole outputs; one that is there already stays."""
    dialect = connection.dialect.name
    first: dict[tuple[str, str, str], tuple[int, bytes]] = {}
    for output in captured:
        for place, (channel, data) in enumerate((("stdout", output.stdout), ("stderr", output.stderr))):
            if data is not None:
                first.setdefault((output.job_id, output.node, channel), (output.at + place, data))
    for rows, data in pack(((*stream, 0, at), data) for stream, (at, data) in first.items()):
        connection.execute(_INSERT_STREAMS[dialect], {"rows": encode_rows(rows)})
        connection.execute(_INSERT_WHOLE[dialect], {"rows": encode_rows(rows), "data": data})


_INSERT_STREAMS = {
    dialect: into(output_streams)
    .from_select(
        ["job", "node", "channel", "taken", "kept", "end_bytes"],
        select(jobs.c.seq, _items[1], _items[2], _number(6), _number(6), _number(6))
        .select_from(_rows.join(jobs, jobs.c.id == _items[0]))
        .where(true()),
    )
    .on_conflict_do_nothing(index_elements=_STREAM_KEY)
    for dialect, into in INSERTS.items()
}

# Where another output is there already, it has another length, or has its first chunk.
_whole = (
    select(output_streams.c.job, output_streams.c.id, literal_column("0"), _number(4), _piece)
    .select_from(
        _rows.join(jobs, jobs.c.id == _items[0]).join(
            output_streams,
            and_(
                output_streams.c.job == jobs.c.seq,
                output_streams.c.node == _items[1],
                output_streams.c.channel == _items[2],
                output_streams.c.taken == _number(6),
            ),
        )
    )
    .where(_number(6) > 0)
)
_INSERT_WHOLE = {
    dialect: into(output_chunks)
    .from_select(["job", "stream", "first", "at", "data"], _whole)
    .on_conflict_do_nothing(index_elements=[output_chunks.c.stream, output_chunks.c.first])
    for dialect, into in INSERTS.items()
}


def write_ends(connection: Connection, ends: Iterable[OutputEnd]) -> None:
    """Keep how long streams will be; what was said first counts. A stream of which nothing came yet begins with it."""
    rows = [(end.job_id, end.node, end.channel, end.bytes, end.dropped) for end in ends]
    connection.execute(_SET_ENDS[connection.dialect.name], {"rows": encode_rows(rows)})


def _ending(insert_stream: Insert) -> Insert:
    new = insert_stream.excluded
    return insert_stream.on_conflict_do_update(
        index_elements=_STREAM_KEY,
        set_={"end_bytes": new.end_bytes, "left_out": new.left_out},
        where=output_streams.c.end_bytes.is_(None),
    )


_SET_ENDS = {
    dialect: _ending(
        into(output_streams).from_select(
            ["job", "node", "channel", "taken", "kept", "end_bytes", "left_out"],
            select(jobs.c.seq, _items[1], _items[2], literal_column("0"), literal_column("0"), _number(3), _number(4))
            .select_from(_rows.join(jobs, jobs.c.id == _items[0]).join(output_jobs, output_jobs.c.job == jobs.c.seq))
            .where(true()),
        )
    )
    for dialect, into in INSERTS.items()
}


def begin_job(connection: Connection, seq: int, byte_limit: int | None, *, live: bool) -> None:
    """Let a new job have output."""
    connection.execute(insert(output_jobs), {"job": seq, "byte_limit": byte_limit, "live": live, "kept": 0})
