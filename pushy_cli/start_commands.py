"""The options and help of the ``job`` commands that start and follow jobs; :mod:`pushy_cli.starting` does it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from pushy_cli.options import Command, common_options, run, view_options
from pushy_cli.params import Count, JobId, NodeWord, Seconds, Size

F = TypeVar("F", bound=Callable[..., Any])

EXIT_STATUSES = """\b
Exit status:
  0    the command succeeded on every node
  1    it did not on some
  2    wrong usage, or it was not confirmed
  3    the quorum was missed, or the command ran nowhere
  4    the job timed out
  5    the job was aborted
  6    the server cannot be reached, or does not accept us
  130  interrupted (Ctrl-C); the job goes on
"""

_QUORUM = click.option(
    "-q",
    "--quorum",
    metavar="QUORUM",
    help="How many nodes must be ready: a number, or a percentage (rounded up).  [default: all]",
)


def _all(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_START_OPTIONS = _all(
    click.option("-b", "--nowait", is_flag=True, help="Only start the job, and print its id."),
    click.option(
        "--confirm-over",
        metavar="N",
        type=Count(least=0),
        default=100,
        help="Ask before a command runs on more than N nodes.  [default: 100]",
    ),
    click.option("-y", "--yes", is_flag=True, help="Do not ask."),
    click.option(
        "-n", "--dry-run", is_flag=True, help="Start nothing; show who would be asked, and who is unavailable."
    ),
)
_FOLLOW_OPTIONS = _all(
    click.option(
        "--live",
        is_flag=True,
        help="Show what nodes write as they write it, by lines: NODE | for stdout, NODE ! for stderr.",
    ),
    click.option("--quiet", is_flag=True, help="Show neither progress nor, if every node succeeded, a summary."),
    click.option(
        "--ok-if-quorum",
        is_flag=True,
        help="As knife does, exit with 0 also if nodes refused or were unavailable, as long as the quorum was reached.",
    ),
    click.option(
        "--poll-interval",
        metavar="SECONDS",
        type=Seconds(),
        help="Look at the job this often.  [default: its events as they come]",
    ),
    view_options,
)


_JOB_OPTIONS = _all(
    _QUORUM,
    click.option(
        "--timeout",
        metavar="SECONDS",
        type=Seconds(),
        help="End the command where it runs longer.  [default: server's]",
    ),
    click.option("--capture", is_flag=True, help="Collect what the command writes, and show it at the end."),
    click.option(
        "--output-limit",
        metavar="SIZE",
        type=Size(),
        help="Keep so much of what each node writes to a channel, its head and tail: 64k, 8M.  [default: 1M]",
    ),
    click.option("--as-user", "user", metavar="USER", help="Run the command as this user."),
    click.option("--in-dir", "directory", metavar="DIR", help="Run the command in this directory."),
    click.option("--env", metavar="NAME=VALUE", multiple=True, help="An environment variable.  [repeatable]"),
    click.option("--with-env", "env_json", metavar="JSON", help='Environment variables: \'{"NAME": "VALUE"}\''),
    click.option(
        "--file",
        metavar="PATH",
        type=click.Path(path_type=Path),
        help="Send a file along; the command finds its path in CHEF_PUSH_JOB_FILE.",
    ),
)
_OF_JOB = ("quorum", "timeout", "capture", "output_limit", "user", "directory", "env", "env_json", "file")


@click.command(cls=Command, epilog=EXIT_STATUSES)
@_all(
    click.option("-s", "--search", metavar="QUERY", help="Also on the nodes that Chef's search finds: 'role:web'."),
    click.option(
        "-x", "--exclude", metavar="NODE", multiple=True, type=NodeWord(), help="But not on these.  [repeatable]"
    ),
    _JOB_OPTIONS,
    _START_OPTIONS,
    _FOLLOW_OPTIONS,
)
@common_options
@click.argument("command")
@click.argument("nodes", metavar="[NODE...]", nargs=-1, type=NodeWord())
@click.pass_context
def start(
    ctx: click.Context,
    /,
    command: str,
    nodes: Sequence[str],
    search: str | None,
    exclude: Sequence[str],
    **given: Any,
) -> None:
    """Run COMMAND on every NODE, and wait for its end.

    COMMAND is one argument: quote it. The nodes vote first; the command runs on those that are ready, if they are as
    many as the quorum. Options may stand before or after COMMAND; -- ends them.

    \b
    A NODE is
      web1             a name
      web[001-120]     a range of names, also web[1-3,7] and rack[1-2]-node[1-4]
      'web*'           those of the nodes that the server has seen
      @FILE            those that a file names
      @GROUP           a group of ClusterShell's
    More of that notation (,  !  &  ^) is in clustershell's own manual.

    With --live the output is not shown again at the end, unless --capture, -L, --diff or --grouped is given too. On a
    terminal no more lines are shown than can be read; 'pushy job output ID' has them all.

    Ctrl-C asks whether to leave the job running or to abort it; Ctrl-C again leaves it running.

    \b
    Examples:
      pushy job start chef-client web1 web2 web3
      pushy job start --capture -q 50% 'systemctl status nginx' 'web[001-120]' -x web007
      pushy job start --live 'apt-get upgrade -y' @canaries
      pushy job start -s 'role:db AND chef_environment:prod' --dry-run chef-client
    """
    of_job = {name: given.pop(name) for name in _OF_JOB}
    before, following = _how(ctx, again=of_job["capture"], **given)
    draft, targets = _what(ctx, nodes, search, exclude, command=command, live=following.live, **of_job)
    from pushy_cli import starting

    run(ctx, lambda session: starting.start(session, draft, targets, before, following))


@click.command(cls=Command)
@click.option("--failed", "failed_only", is_flag=True, help="Only on the nodes where it did not succeed.")
@_QUORUM
@_START_OPTIONS
@_FOLLOW_OPTIONS
@common_options
@click.argument("job_id", metavar="ID", type=JobId())
@click.pass_context
def rerun(ctx: click.Context, /, job_id: str, failed_only: bool, quorum: str | None, **how: Any) -> None:
    """Start a job like job ID, on the same nodes, and wait for its end.

    Everything but the quorum is as it was: command, user, directory, environment, file, timeout. The exit status is
    that of 'pushy job start'.
    """
    before, following = _how(ctx, **how)
    from pushy_cli import starting

    run(
        ctx,
        lambda session: starting.rerun(session, job_id, before, following, failed_only=failed_only, quorum=quorum),
    )


@click.command(cls=Command)
@_FOLLOW_OPTIONS
@common_options
@click.argument("job_id", metavar="ID", type=JobId())
@click.pass_context
def watch(ctx: click.Context, /, job_id: str, **how: Any) -> None:
    """Follow job ID to its end, as if it had been started here.

    Exits as 'pushy job start' would have.
    """
    _, following = _how(ctx, nowait=False, confirm_over=0, yes=True, dry_run=False, **how)
    from pushy_cli import watching

    run(ctx, lambda session: watching.watch(session, job_id, following))


def _what(
    ctx: click.Context, nodes: Sequence[str], search: str | None, exclude: Sequence[str], **of_job: Any
) -> tuple[Any, Any]:
    """The job and its nodes, checked as far as that can be done without the server."""
    from pushy_cli.new_job import UsageProblem, make_draft
    from pushy_cli.targets import parse_targets

    try:
        draft = make_draft(**of_job)
        targets = parse_targets(nodes, exclude=exclude, search=search)
        if targets.is_known and not targets.is_empty:
            draft.request(targets.included.names)
    except UsageProblem as problem:
        raise click.UsageError(str(problem), ctx) from None
    if targets.is_empty:
        raise click.UsageError("Missing argument 'NODE...', or --search", ctx)
    return draft, targets


def _how(
    ctx: click.Context,
    *,
    nowait: bool,
    confirm_over: int,
    yes: bool,
    dry_run: bool,
    view: str | None,
    poll_interval: float | None,
    again: bool = False,
    **following: bool,
) -> Any:
    """What is asked before, and how the job is followed.

    :param again: whether output that was shown as it came is shown at the end too; it also is if a view is named
    """
    if following["live"] and poll_interval is not None:
        raise click.UsageError("--live shows a job's events as they come; leave out --poll-interval", ctx)
    from pushy_cli.output_text import View
    from pushy_cli.starting import Starting
    from pushy_cli.watching import Following

    how = Following(
        interval=poll_interval, view=View(view or View.GROUPED), again=again or view is not None, **following
    )
    return Starting(confirm_over=confirm_over, yes=yes, dry_run=dry_run, wait=not nowait), how
