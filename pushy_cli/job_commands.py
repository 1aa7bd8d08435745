"""The options and help of the ``job`` commands; what they do is in :mod:`pushy_cli.jobs`, which is heavy to import."""

import re
from pathlib import Path

import click

from pushy_cli.options import Group, Seconds, common_options, run


class JobId(click.ParamType[str, str]):
    """A job's id, or ``last`` for the newest job."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id, as the server spells it."""
        job_id = value.strip().lower()
        if job_id != "last" and not re.fullmatch("[0-9a-f]{32}", job_id):
            self.fail(f"{value!r} is not 32 hexadecimal digits, nor 'last'", param, ctx)
        return job_id


class NodeName(click.ParamType[str, str]):
    """A node's name."""

    name = "node"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name; one that would change a URL's path is none."""
        if not value or value in {".", ".."} or len(value) > 255 or not value.isprintable():
            self.fail(f"{value!r} is no name of a node", param, ctx)
        return value


@click.group(cls=Group)
def job() -> None:
    """Start jobs and look at them."""


@job.command()
@click.option(
    "-q",
    "--quorum",
    metavar="QUORUM",
    help="How many nodes must be ready: a number, or a percentage (rounded up).  [default: all]",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=Seconds(),
    help="End the command where it runs longer.  [default: the server's, 3600]",
)
@click.option("--capture", is_flag=True, help="Collect what the command writes, and show it at the end.")
@click.option("-b", "--nowait", is_flag=True, help="Only start the job, and print its id.")
@click.option("--as-user", metavar="USER", help="Run the command as this user.")
@click.option("--in-dir", metavar="DIR", help="Run the command in this directory.")
@click.option("--with-env", metavar="JSON", help='Environment variables: \'{"NAME": "VALUE"}\'')
@click.option(
    "--file",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Send a file along; the command finds its path in CHEF_PUSH_JOB_FILE.",
)
@click.option(
    "--poll-interval",
    metavar="SECONDS",
    type=Seconds(),
    help="Time between looks at the job.  [default: 0.3, growing to 1]",
)
@common_options
@click.argument("command")
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True, type=NodeName())
@click.pass_context
def start(
    ctx: click.Context,
    command: str,
    nodes: tuple[str, ...],
    quorum: str | None,
    timeout: float | None,
    capture: bool,
    nowait: bool,
    as_user: str | None,
    in_dir: str | None,
    with_env: str | None,
    file: Path | None,
    poll_interval: float | None,
) -> None:
    """Run COMMAND on every NODE, and wait for its end.

    COMMAND is one argument: quote it. The nodes vote first; the command runs on those that are ready, if they are as
    many as the quorum. Options may stand before or after COMMAND; -- ends them.

    \b
    Exit status:
      0    the command succeeded on every node
      1    it did not on some
      2    wrong usage
      3    the quorum was missed, or the command ran nowhere
      4    the job timed out
      5    the job was aborted
      6    the server cannot be reached, or does not accept us
      130  interrupted (Ctrl-C); the job goes on

    \b
    Examples:
      pushy job start chef-client web1 web2 web3
      pushy job start --capture -q 50% 'systemctl status nginx' web1 web2
    """
    from pushy_cli.new_job import UsageProblem, make_request

    try:
        request = make_request(
            command=command,
            nodes=nodes,
            quorum=quorum,
            timeout=timeout,
            capture=capture,
            user=as_user,
            directory=in_dir,
            env=with_env,
            file=file,
        )
    except UsageProblem as problem:
        raise click.UsageError(str(problem), ctx) from None
    from pushy_cli import jobs

    run(ctx, lambda session: jobs.start(session, request, wait=not nowait, interval=poll_interval))


@job.command()
@common_options
@click.argument("job_id", metavar="ID", type=JobId())
@click.pass_context
def status(ctx: click.Context, job_id: str) -> None:
    """Show job ID and its nodes; 'last' is the newest job.

    Exits with 0 whatever became of the job, and with 1 if there is none with that id.
    """
    from pushy_cli import jobs

    run(ctx, lambda session: jobs.status(session, job_id))


@job.command("list")
@common_options
@click.pass_context
def list_jobs(ctx: click.Context) -> None:
    """List all jobs, newest first."""
    from pushy_cli import jobs

    run(ctx, jobs.list_jobs)


@job.command()
@click.option("--channel", type=click.Choice(["stdout", "stderr"]), help="Only this one.  [default: both]")
@common_options
@click.argument("job_id", metavar="ID", type=JobId())
@click.argument("nodes", metavar="[NODE...]", nargs=-1, type=NodeName())
@click.pass_context
def output(ctx: click.Context, job_id: str, nodes: tuple[str, ...], channel: str | None) -> None:
    """Show what job ID wrote on its nodes.

    That is on all of them, or on every NODE named; 'last' as ID is the newest job. Nodes that wrote the same are shown
    together. One NODE with --channel gives its bytes as they are when stdout is a pipe or a file. Exits with 1 if
    there is no such job.
    """
    from pushy_cli import jobs

    run(ctx, lambda session: jobs.output(session, job_id, nodes, channel))
