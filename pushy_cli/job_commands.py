"""The options and help of the ``job`` commands that look at jobs, abort and delete them.

Starting and following them is in :mod:`pushy_cli.start_commands`. What the commands do is in :mod:`pushy_cli.jobs`,
which is heavy to import.
"""

from pathlib import Path
from typing import Any

import click

from pushy_cli.options import Group, common_options, run, view_options, wanted_format
from pushy_cli.params import Count, JobId, Moment, Named

_STATUSES = ("new", "voting", "running", "complete", "quorum_failed", "timed_out", "aborted", "crashed")


@click.group(
    cls=Group,
    elsewhere={name: f"pushy_cli.start_commands:{name}" for name in ("start", "rerun", "watch")},
)
def job() -> None:
    """Start jobs, follow them, and look at them."""


@job.command()
@click.option(
    "-L", "by_node", is_flag=True, help="Show each node by itself: its status, how it ended, how long it took."
)
@common_options
@click.argument("job_id", metavar="ID", type=JobId())
@click.pass_context
def status(ctx: click.Context, job_id: str, by_node: bool) -> None:
    """Show job ID and its nodes; 'last' is the newest job.

    Nodes whose command ended alike are shown together, with how long it took there.

    Exits with 0 whatever became of the job, and with 1 if there is none with that id.
    """
    from pushy_cli import jobs

    run(ctx, lambda session: jobs.status(session, job_id, by_node=by_node))


@job.command("list")
@click.option("--status", metavar="STATUS", type=click.Choice(_STATUSES), help=f"Only these: {', '.join(_STATUSES)}.")
@click.option("--node", metavar="NODE", type=Named("node"), help="Only jobs that have this node.")
@click.option("--command", metavar="COMMAND", help="Only jobs with this command, the whole of it.")
@click.option("--since", metavar="WHEN", type=Moment(), help="Only jobs created since: 2h, 7d or 2026-01-31T12:00.")
@click.option("--limit", metavar="N", type=Count(least=1), default=50, help="The most jobs to list.  [default: 50]")
@common_options
@click.pass_context
def list_jobs(
    ctx: click.Context, status: str | None, node: str | None, command: str | None, since: float | None, limit: int
) -> None:
    """List jobs, newest first.

    \b
    Examples:
      pushy job list --status running
      pushy job list --node web1 --since 2d --command chef-client
    """
    from pushy_cli import jobs
    from pushy_cli.api import JobQuery

    query = JobQuery(status=status, node=node, command=command, since=since, limit=limit)
    run(ctx, lambda session: jobs.list_jobs(session, query))


@job.command()
@click.option("--channel", type=click.Choice(["stdout", "stderr"]), help="Only this one.  [default: both]")
@click.option("--tail", metavar="N", type=Count(least=0), help="Only the last N lines of each.")
@click.option("-f", "--follow", is_flag=True, help="Show what one NODE writes as it writes it, to its end.")
@click.option(
    "--to-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write it to DIR/NODE/stdout and DIR/NODE/stderr, byte by byte.",
)
@view_options
@common_options
@click.argument("job_id", metavar="ID", type=JobId())
@click.argument("nodes", metavar="[NODE...]", nargs=-1, type=Named("node"))
@click.pass_context
def output(
    ctx: click.Context, /, job_id: str, nodes: tuple[str, ...], view: str | None, follow: bool, **wanted: Any
) -> None:
    """Show what job ID wrote on its nodes.

    That is on all of them, or on every NODE named; 'last' as ID is the newest job. Nodes that wrote the same are shown
    together. One NODE with --channel gives its bytes as they are when stdout is a pipe or a file. Exits with 1 if
    there is no such job.

    \b
    Examples:
      pushy job output last --tail 20
      pushy job output last web1 --follow
      pushy job output last --to-dir logs
    """
    if follow and len(nodes) != 1:
        raise click.UsageError("--follow: expected one NODE; for all nodes there is: pushy job watch --live ID", ctx)
    if follow and (wanted["to_dir"] or view or wanted_format(ctx) != "text"):
        raise click.UsageError("--follow shows text as it comes: leave out -F, --to-dir, -L, --diff", ctx)
    if wanted["to_dir"] and wanted["tail"] is not None:
        raise click.UsageError("--to-dir writes all of it; leave out --tail", ctx)
    from pushy_cli import outputs
    from pushy_cli.output_text import View

    what = outputs.Wanted(nodes=nodes, follow=follow, view=View(view or View.GROUPED), **wanted)
    run(ctx, lambda session: outputs.output(session, job_id, what))


@job.command()
@common_options
@click.argument("job_id", metavar="ID", type=JobId())
@click.pass_context
def abort(ctx: click.Context, job_id: str) -> None:
    """Abort job ID: its nodes end the command, or never begin it.

    Does not wait until they have; 'pushy job watch ID' does. Exits with 1 if there is no such job, or it has ended.
    """
    from pushy_cli import jobs

    run(ctx, lambda session: jobs.abort(session, job_id))


@job.command()
@click.option("--before", metavar="WHEN", type=Moment(), required=True, help="Jobs created before: 30d, 2026-01-31.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@common_options
@click.pass_context
def purge(ctx: click.Context, before: float, yes: bool) -> None:
    """Delete old jobs and what they wrote from the server."""
    from pushy_cli import jobs

    run(ctx, lambda session: jobs.purge(session, before, yes=yes))
