"""Jobs as text for people: how one stands or ended, one in detail, node by node, and many in a table."""

import re
import signal
from collections.abc import Iterable, Mapping, Sequence

from attrs import field, frozen

from pushy_cli.folding import fold, natural_key
from pushy_cli.render import (
    BAD,
    COLOURS,
    GOOD,
    WARNING,
    Style,
    by_rank,
    duration,
    fact_lines,
    paint,
    plain,
    table,
    time_of,
    words,
    wrapped,
)
from pushy_cli.standing import standing_of
from pushy_protocol.api import Job, JobRequest, NodeDetail
from pushy_protocol.states import JobStatus, NodeStatus

_ENDINGS: dict[str, str] = {
    JobStatus.COMPLETE: "is complete",
    JobStatus.QUORUM_FAILED: "missed its quorum",
    JobStatus.TIMED_OUT: "timed out",
    JobStatus.ABORTED: "was aborted",
    JobStatus.CRASHED: "crashed",
}
# How a server spells out an exit status and a signal, where it was given no other reason.
_SPELLED_OUT = re.compile(r"(exit status|signal) \d+")


@frozen(kw_only=True)
class _Row:
    """Nodes that are told of together."""

    status: str
    reason: str
    names: list[str] = field(factory=list)
    seconds: list[float] = field(factory=list)
    """How long each took, of those of which it is known."""


def summary(job: Job, style: Style, elapsed: float | None = None) -> str:
    """How a job ended (or stands): a headline, then the nodes by status and reason, their names folded."""
    standing = standing_of(job)
    number, total = standing.counts, standing.total
    succeeded = number.get(NodeStatus.SUCCEEDED, 0)
    if job.status == JobStatus.QUORUM_FAILED:
        told = f"{number.get(NodeStatus.WAS_READY, 0)} of {_nodes(total)} ready"
    else:
        told = f"{succeeded} of {_nodes(total)} succeeded"
    colour = GOOD if succeeded == total and total else COLOURS.get(job.status, "")
    if job.status == JobStatus.COMPLETE and succeeded < total:
        colour = WARNING
    ending = _ENDINGS.get(job.status, f"is {words(job.status)}")
    took = "" if elapsed is None else f", in {duration(elapsed)}"
    headline = f"Job {plain(job.id)} {paint(ending, colour, style)}: {told}{took}."
    return "\n".join([headline, *_lines(_rows(job), style)])


def dry_run(request: JobRequest, nodes: Mapping[str, Sequence[str]], quorum: float, style: Style) -> str:
    """Who would be asked to run a job, and whether they are enough."""
    available = len(nodes.get("available", ()))
    enough = available >= quorum
    verdict = (
        paint("The quorum would be reached", GOOD, style) if enough else paint("The quorum would fail", BAD, style)
    )
    headline = (
        f"Nothing was started. {verdict}: {available} of {_nodes(len(request.nodes))} available, {quorum:g} needed."
    )
    rows = [_Row(status=kind, reason="", names=list(names)) for kind, names in nodes.items() if names]
    return "\n".join([headline, *_lines(rows, style)])


def job_details(job: Job, style: Style) -> str:
    """One job, for ``job status``. Values of environment variables are not shown: they may be secrets."""
    return "\n".join([_facts(job, style), *_lines(_rows(job), style, with_time=True)])


def job_by_node(job: Job, style: Style) -> str:
    """The same, with each node's part in it in a table."""
    rows = []
    for status, names in by_rank(job.nodes or {}):
        for name in sorted(names, key=natural_key):
            detail = _detail(job, name, status)
            took = "" if detail.duration is None else _seconds(detail.duration)
            rows.append((plain(name), words(status), _exit(detail), took, plain(_reason(detail))))
    return f"{_facts(job, style)}\n\n{table(('NODE', 'STATUS', 'EXIT', 'TOOK', 'REASON'), rows, style)}"


def job_table(jobs: Iterable[Job], style: Style) -> str:
    """Jobs in a table, in the order given."""
    rows = [(plain(job.id), words(job.status), _minute(job.created_at), plain(job.command)) for job in jobs]
    return table(("ID", "STATUS", "CREATED", "COMMAND"), rows, style)


def _facts(job: Job, style: Style) -> str:
    facts = {
        "Job": plain(job.id),
        "Command": plain(job.command),
        "Status": f"{paint(words(job.status), COLOURS.get(job.status, ''), style)} since {time_of(job.updated_at)}",
        "Created": time_of(job.created_at),
        "Run timeout": f"{job.run_timeout:g} s",
        "As user": plain(job.user or ""),
        "In directory": plain(job.dir or ""),
        "With env": plain(", ".join(job.env or ())),
        "With file": "yes" if job.file_specified or job.file else "",
        "Output": "captured" if job.capture_output else "",
        "Nodes": str(standing_of(job).total),
    }
    return fact_lines(facts, style)


def _rows(job: Job) -> list[_Row]:
    """One for each status, exit and reason, in the order in which they are told."""
    rows = []
    for status, names in by_rank(job.nodes or {}):
        by_reason: dict[str, _Row] = {}
        for name in names:
            detail = _detail(job, name, status)
            reason = ", ".join(filter(None, (_exit(detail), _reason(detail))))
            row = by_reason.setdefault(reason, _Row(status=status, reason=reason))
            row.names.append(name)
            if detail.duration is not None:
                row.seconds.append(detail.duration)
        rows += [row for _, row in sorted(by_reason.items())]
    return rows


def _lines(rows: Sequence[_Row], style: Style, *, with_time: bool = False) -> list[str]:
    """``status  count  names (reason)``."""
    status_width = max((len(row.status) for row in rows), default=0)
    count_width = max((len(str(len(row.names))) for row in rows), default=0)
    lines = []
    for row in rows:
        told = fold(row.names)
        if row.reason:
            told += f" ({plain(row.reason)})"
        if with_time and row.seconds:
            told += f", {_span(row.seconds)}"
        first = f"  {paint(f'{words(row.status):{status_width}}', COLOURS.get(row.status, ''), style)}"
        indent = 2 + status_width + 2 + count_width + 2
        lines.append(f"{first}  {len(row.names):{count_width}}  {wrapped(told, indent, style)}")
    return lines


def _detail(job: Job, node: str, status: str) -> NodeDetail:
    """A node's part in a job; from a server that does not tell it, as far as it is known."""
    told = (job.node_details or {}).get(node)
    return told or NodeDetail(status=status, reason=(job.reasons or {}).get(node))


def _exit(detail: NodeDetail) -> str:
    """How the command ended, where it did not end well."""
    if detail.signal is not None:
        try:
            return f"signal {detail.signal} ({signal.Signals(detail.signal).name.removeprefix('SIG')})"
        except ValueError:
            return f"signal {detail.signal}"
    return f"exit {detail.exit_status}" if detail.exit_status else ""


def _reason(detail: NodeDetail) -> str:
    """What is said of a node that neither its status nor how its command ended says already."""
    reason = detail.reason or ""
    if reason == detail.status or (_exit(detail) and _SPELLED_OUT.fullmatch(reason)):
        return ""
    return reason


def _span(seconds: Sequence[float]) -> str:
    least, most = _seconds(min(seconds)), _seconds(max(seconds))
    return f"in {least}" if least == most else f"in {least} to {most}"


def _seconds(seconds: float) -> str:
    """``0.3 s``, ``12 s``, ``1:05``."""
    if seconds >= 60:
        return duration(seconds)
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _nodes(number: int) -> str:
    return f"{number} node" if number == 1 else f"{number} nodes"


def _minute(text: str) -> str:
    """A time without its seconds, for a table, where room is dear."""
    return re.sub(r":\d\dZ$", "Z", time_of(text))
