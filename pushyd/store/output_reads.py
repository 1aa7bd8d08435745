"""The statements that read output. Each function runs in a thread of the store, on a connection that it is given.

Bytes come as hexadecimal digits in JSON; :mod:`pushyd.store.bulk` says why.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import BigInteger, Connection, Select, Text, and_, bindparam, cast, func, literal_column, select

from pushyd.store.bulk import HexDigits, JsonItem, JsonRows, JsonTable, encode_rows
from pushyd.store.output_interface import OutputEvent, OutputState
from pushyd.store.schema import jobs, output_chunks, output_streams
from pushyd.store.text import unescape

_EVENTS_AT_ONCE = 500
_NO_STOP = 2**62

_rows = JsonRows(bindparam("rows", type_=Text())).table_valued("value", name="rows")
_ids = select(cast(JsonItem(_rows.c.value, literal_column("0")), BigInteger))
_seq = select(jobs.c.seq).where(jobs.c.id == bindparam("job_id")).scalar_subquery()
_seq_in_organization = (
    select(jobs.c.seq)
    .where(jobs.c.organization == bindparam("organization"), jobs.c.id == bindparam("job_id"))
    .scalar_subquery()
)
_is_node = output_streams.c.node == bindparam("node")
_is_channel = output_streams.c.channel == bindparam("channel")


def read_states(
    connection: Connection, organization: str, job_id: str, node: str | None, channel: str | None
) -> Sequence[OutputState]:
    """The streams of a job, or of one of its nodes or channels, sorted by node."""
    wanted = {"organization": organization, "job_id": job_id, "node": node, "channel": channel}
    given = {name: value for name, value in wanted.items() if value is not None}
    text = connection.execute(_STATES[node is not None, channel is not None], given).scalar_one()
    states = [_state(row) for row in msgspec.json.decode(text or "[]", type=list[_StateRow])]
    return sorted(states, key=lambda state: (state.node, state.channel))


_StateRow = tuple[int, str, str, int, int, int | None, int, str | None]
_states = select(
    JsonTable(
        *(
            output_streams.c[name]
            for name in ("id", "node", "channel", "taken", "kept", "end_bytes", "left_out", "problem")
        )
    )
).where(output_streams.c.job == _seq_in_organization)
_STATES: Mapping[tuple[bool, bool], Select[str]] = {
    (False, False): _states,
    (True, False): _states.where(_is_node),
    (False, True): _states.where(_is_channel),
    (True, True): _states.where(_is_node, _is_channel),
}


def _state(row: _StateRow) -> OutputState:
    stream, node, channel, taken, kept, end, left_out, problem = row
    return OutputState(
        id=stream,
        node=unescape(node),
        channel=channel,
        kept=kept,
        dropped=left_out + taken - kept,
        complete=end is not None and taken >= end,
        problem=None if problem is None else unescape(problem),
    )


def read_output(
    connection: Connection, organization: str, job_id: str, node: str, channel: str, start: int, stop: int | None
) -> bytes | None:
    """A part of a stream, or None."""
    wanted = {"organization": organization, "job_id": job_id, "node": node, "channel": channel}
    window = {"start": start, "stop": _NO_STOP if stop is None else stop}
    text = connection.execute(_OUTPUT, wanted | window).scalar()
    chunks = msgspec.json.decode(text or "[]", type=list[tuple[int | None, str | None]])
    if not chunks:
        return None
    first = chunks[0][0] or 0
    data = b"".join(bytes.fromhex(digits or "") for _, digits in chunks)
    return data[max(0, start - first) : None if stop is None else max(0, stop - first)]


_before = output_chunks.alias("before")
_window = (
    select(output_chunks.c.first, HexDigits(output_chunks.c.data).label("digits"))
    .select_from(
        output_streams.outerjoin(
            output_chunks,
            and_(
                output_chunks.c.stream == output_streams.c.id,
                output_chunks.c.first < bindparam("stop", type_=BigInteger()),
                output_chunks.c.first
                >= select(func.coalesce(func.max(_before.c.first), 0))
                .where(
                    _before.c.stream == output_streams.c.id, _before.c.first <= bindparam("start", type_=BigInteger())
                )
                .correlate(output_streams)
                .scalar_subquery(),
            ),
        )
    )
    .where(output_streams.c.job == _seq_in_organization, _is_node, _is_channel)
    .order_by(output_chunks.c.first)
    .subquery("parts")
)
_OUTPUT = select(JsonTable(*_window.c))


def read_whole(connection: Connection, ids: Sequence[int]) -> Mapping[int, bytes]:
    """All bytes of some streams."""
    text = connection.execute(_WHOLE, {"rows": encode_rows((stream,) for stream in ids)}).scalar()
    chunks: defaultdict[int, list[bytes]] = defaultdict(list)
    for stream, digits in msgspec.json.decode(text or "[]", type=list[tuple[int, str]]):
        chunks[stream].append(bytes.fromhex(digits))
    return {stream: b"".join(of_stream) for stream, of_stream in chunks.items()}


_whole = (
    select(output_chunks.c.stream, HexDigits(output_chunks.c.data).label("digits"))
    .where(output_chunks.c.stream.in_(_ids))
    .order_by(output_chunks.c.stream, output_chunks.c.first)
    .subquery("chunks")
)
_WHOLE = select(JsonTable(*_whole.c))


def read_events(connection: Connection, job_id: str, after: int, limit: int) -> Sequence[OutputEvent]:
    """The first pieces that came after `after`."""
    text = connection.execute(_EVENTS, {"job_id": job_id, "after": after, "limit": limit}).scalar()
    return [
        OutputEvent(node=unescape(node), channel=channel, offset=first, at=at, data=bytes.fromhex(digits))
        for node, channel, first, at, digits in msgspec.json.decode(
            text or "[]", type=list[tuple[str, str, int, int, str]]
        )
    ]


# Which they are is found without their bytes.
_sizes = (
    select(
        output_chunks.c.seq,
        (
            func.sum(func.length(output_chunks.c.data)).over(order_by=(output_chunks.c.at, output_chunks.c.seq))
            - func.length(output_chunks.c.data)
        ).label("before"),
    )
    .where(output_chunks.c.job == _seq, output_chunks.c.at > bindparam("after", type_=BigInteger()))
    .order_by(output_chunks.c.at, output_chunks.c.seq)
    .limit(_EVENTS_AT_ONCE)
    .subquery("sizes")
)
_events = (
    select(
        output_streams.c.node,
        output_streams.c.channel,
        output_chunks.c.first,
        output_chunks.c.at,
        HexDigits(output_chunks.c.data).label("digits"),
    )
    .select_from(
        _sizes.join(output_chunks, output_chunks.c.seq == _sizes.c.seq).join(
            output_streams, output_streams.c.id == output_chunks.c.stream
        )
    )
    .where(_sizes.c.before < bindparam("limit", type_=BigInteger()))
    .order_by(output_chunks.c.at, output_chunks.c.seq)
    .subquery("events")
)
_EVENTS = select(JsonTable(*_events.c))


def read_last(connection: Connection, job_id: str) -> int:
    """When the last piece of a job came; 0 where there is none."""
    return connection.execute(_LAST, {"job_id": job_id}).scalar() or 0


_LAST = select(func.max(output_chunks.c.at)).where(output_chunks.c.job == _seq)
