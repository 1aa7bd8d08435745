"""Options that every command takes, and how a command's help is laid out. Imports little but click."""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, TypeVar

import click

from pushy_cli.params import Seconds

F = TypeVar("F", bound=Callable[..., Any])


class CommonOption(click.Option):
    """An option that every command takes; its value is kept in the root context's `obj`, by name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, expose_value=False, callback=_keep)


class Command(click.Command):
    """A command whose help tells its own options first, then those that all have."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Options": [], "Server, credentials and format": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record and isinstance(parameter, click.Option):
                common = isinstance(parameter, CommonOption)
                sections["Server, credentials and format" if common else "Options"].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class Group(Command, click.Group):
    """A group of such commands. Those of `elsewhere` are imported when they are named, or listed."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, elsewhere: Mapping[str, str] = MappingProxyType({}), **kwargs: Any) -> None:
        """:param elsewhere: commands by name: ``MODULE:VARIABLE``"""
        super().__init__(*args, **kwargs)
        self._elsewhere = elsewhere

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, sorted."""
        return sorted({*super().list_commands(ctx), *self._elsewhere})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if where := self._elsewhere.get(cmd_name):
            module, _, variable = where.partition(":")
            command: click.Command = getattr(import_module(module), variable)
            return command
        return super().get_command(ctx, cmd_name)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def _keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    # A flag that was not given is False, any other option None; the innermost that was given counts.
    if value is not None and value is not False:
        ctx.find_root().ensure_object(dict)[parameter.name] = value


_COMMON = (
    click.option(
        "--server-url",
        metavar="URL",
        cls=CommonOption,
        help="https://HOST[:PORT]/organizations/ORG  [env: PUSHY_SERVER_URL]",
    ),
    click.option(
        "--client-name", metavar="NAME", cls=CommonOption, help="User or client to act for.  [env: PUSHY_CLIENT_NAME]"
    ),
    click.option("--client-key", metavar="PATH", cls=CommonOption, help="Its private key.  [env: PUSHY_CLIENT_KEY]"),
    click.option(
        "--ca-file",
        metavar="PATH",
        cls=CommonOption,
        help="CA certificates to trust besides the system's.  [env: PUSHY_CA_FILE]",
    ),
    click.option(
        "--profile",
        metavar="NAME",
        cls=CommonOption,
        help="Profile in the credentials file.  [env: PUSHY_PROFILE; default: default]",
    ),
    click.option(
        "--credentials",
        metavar="PATH",
        cls=CommonOption,
        help="Credentials file.  [default: ~/.pushy/credentials, then ~/.chef/credentials]",
    ),
    click.option(
        "--request-timeout",
        metavar="SECONDS",
        type=Seconds(),
        cls=CommonOption,
        help="For one request to the server.  [default: 30]",
    ),
    click.option(
        "-F",
        "--format",
        type=click.Choice(["text", "json", "yaml", "names"]),
        cls=CommonOption,
        help="Format of results.  [default: text]",
    ),
    click.option(
        "-v", "--verbose", is_flag=True, cls=CommonOption, help="Show requests and answers (without secrets) on stderr."
    ),
)


def common_options(function: F) -> F:
    """Give a command the options that every command takes."""
    for option in reversed(_COMMON):
        function = option(function)
    return function


def view_options(function: F) -> F:
    """Give a command the options that say how what several nodes wrote is put together."""
    grouped = click.option(
        "--grouped", "view", flag_value="grouped", help="Show what several nodes wrote alike once.  [default]"
    )
    by_node = click.option("-L", "view", flag_value="by-node", help="Show what each node wrote one by one.")
    diff = click.option("--diff", "view", flag_value="diff", help="Show how it differs from what most nodes wrote.")
    return grouped(by_node(diff(function)))


def wanted_format(ctx: click.Context) -> str:
    """``text``, ``json``, ``yaml`` or ``names``."""
    return str(ctx.find_root().ensure_object(dict).get("format", "text"))


def tell(ctx: click.Context, value: object, *, name: str, text: str) -> None:
    """Print the result of a command that asks nobody, in the format that is wanted."""
    match wanted_format(ctx):
        case "text":
            click.echo(text)
        case "names":
            click.echo(name)
        case kind:
            from pushy_cli.results import structured  # not for what is only text

            click.echo(structured(value, kind).rstrip("\n"))


def run(ctx: click.Context, command: Any) -> None:
    """Run a command (a coroutine function of a session) with the common options that were given, and exit.

    Who runs the program within another may give its own `run` in the root context's `obj`.
    """
    given = dict(ctx.find_root().ensure_object(dict))
    runner = given.pop("run", None)
    if runner is None:
        from pushy_cli import session  # heavy: not for --help

        runner = session.run
    runner(given, command)
