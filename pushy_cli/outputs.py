"""What the nodes of a job wrote, when it is asked for: ``job output``, and the end of jobs that are followed.

How it is fetched is :mod:`pushy_cli.captured`'s, the looks of it are :mod:`pushy_cli.output_text`'s. One node's output
as it comes is in :mod:`pushy_cli.tailing`.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from pushy_cli import captured, render
from pushy_cli.errors import NotOffered, UnknownJob
from pushy_cli.folding import fold
from pushy_cli.jobs import SUCCEEDED, nodes_of, resolve_id
from pushy_cli.missing import Missing
from pushy_cli.output_api import Group
from pushy_cli.output_text import View, blocks, last_lines
from pushy_cli.saving import save
from pushy_cli.session import Session
from pushy_cli.tailing import follow_output
from pushy_cli.transport import CONNECTIONS
from pushy_protocol.api import Job

SILENCE = 60.0
"""Seconds without a byte after which a connection counts as lost."""


@frozen(kw_only=True)
class Wanted:
    """What of a job's output is wanted, and where."""

    nodes: Sequence[str] = ()
    """Without any: of all."""

    channel: str | None = None
    view: View = View.GROUPED
    tail: int | None = None
    """Only so many lines at the end of each."""

    follow: bool = False
    to_dir: Path | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that are wanted."""
        return captured.CHANNELS if self.channel is None else (self.channel,)


async def output(session: Session, job_id: str, wanted: Wanted) -> int:
    """Show, follow, or write to files, what those nodes of a job wrote.

    One node's one channel goes to a pipe or file as it is, byte by byte.
    """
    job = await session.server.job(await resolve_id(session, job_id))
    known = set(nodes_of(job))
    if strange := [name for name in wanted.nodes if name not in known]:
        raise UnknownJob(f"Job {job.id} has no node {fold(strange)}", f"See its nodes: pushy job status -L {job.id}")
    if wanted.follow:
        await follow_output(session, job, wanted.nodes[0], wanted.channel, tail=wanted.tail)
        return SUCCEEDED
    nodes = list(dict.fromkeys(wanted.nodes)) or captured.nodes_with_output(job)
    if wanted.to_dir is not None:
        files = await save(session, job.id, nodes, wanted.channels, wanted.to_dir)
        session.show(files, names=files, text=lambda _style: f"Wrote {len(files)} file{'s' * (len(files) != 1)}.")
        return SUCCEEDED
    texts = await fetch_output(session, job, nodes, channel=wanted.channel)
    if wanted.tail is not None:
        texts = _tails(texts, wanted.tail)
    if session.is_text and len(wanted.nodes) == len(wanted.channels) == 1 and not session.console.out_style.terminal:
        for text in texts[wanted.channels[0]]:
            session.console.raw("stdout", text)
    else:
        _show_texts(session, job, texts, nodes, wanted.view)
    return SUCCEEDED


async def fetch_output(
    session: Session, job: Job, nodes: Sequence[str], *, channel: str | None = None
) -> captured.Captured:
    """What those nodes wrote; on a terminal it is shown how far it is read."""
    console = session.console

    def on_progress(done: int, total: int) -> None:
        if console.is_live:
            console.live(render.reading_line(done, total, console.err_style))

    try:
        if nodes and set(nodes) == set(captured.nodes_with_output(job)):
            with suppress(NotOffered):
                return await _fetch_groups(session, job, channel, lambda done: on_progress(done, len(nodes)))
        missing = Missing()
        texts = await captured.fetch(
            session.outputs,
            job.id,
            nodes,
            captured.CHANNELS if channel is None else (channel,),
            at_once=CONNECTIONS,
            on_progress=on_progress,
            on_problem=missing.add,
        )
        missing.tell(console)
        return texts
    finally:
        console.live("")


def show_output(session: Session, texts: captured.Captured, view: View) -> bool:
    """Show what nodes wrote, for people; whether there was anything."""
    some = False
    for block in blocks(texts, session.console.out_style, view):
        session.console.result(block)
        some = True
    return some


async def _fetch_groups(
    session: Session, job: Job, channel: str | None, on_progress: Callable[[int], None]
) -> captured.Captured:
    """The same of all nodes, in one answer.

    :raise NotOffered: this server has it node by node only.
    """
    heard: set[str] = set()

    def on_group(group: Group) -> None:
        heard.update(group.nodes)
        on_progress(len(heard))

    groups = await session.outputs.groups(job.id, channel, silence=SILENCE, on_group=on_group)
    texts: dict[str, dict[bytes, list[str]]] = {
        name: {} for name in (captured.CHANNELS if channel is None else (channel,))
    }
    missing = Missing()
    for group in groups:
        texts[group.channel].setdefault(bytes(group.text), []).extend(group.nodes)
        if group.problem:
            missing.add(group.nodes, group.channel, group.problem)
    missing.tell(session.console)
    return texts


def _show_texts(session: Session, job: Job, texts: captured.Captured, nodes: Sequence[str], view: View) -> None:
    if not session.is_text:
        by_node = captured.by_node(texts, nodes)
        session.show(by_node, names=[node for node, written in by_node.items() if any(written.values())], text=str)
        return
    some = show_output(session, texts, view)
    if not job.capture_output:
        session.console.note("Nothing was captured: the job was started without --capture.")
    elif not some:
        session.console.note("There is no output.")


def _tails(texts: captured.Captured, count: int) -> captured.Captured:
    """The last lines of each, put together anew."""
    tails: dict[str, dict[bytes, list[str]]] = {channel: {} for channel in texts}
    for channel, by_text in texts.items():
        for text, nodes in by_text.items():
            tails[channel].setdefault(last_lines(text, count), []).extend(nodes)
    return tails
