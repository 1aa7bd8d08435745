"""Kinds of arguments and options, with their completion. Imports nothing but click and the standard library."""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_AGO = re.compile(r"([0-9]{1,6})([smhdw])")
_SIZE = re.compile(r"([0-9]{1,12})(?:([kmg])i?b?)?", re.IGNORECASE)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Seconds(click.ParamType[float, str]):
    """A time in seconds, more than none and less than for ever."""

    name = "seconds"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            self.fail(f"{value!r} is not a number of seconds greater than 0", param, ctx)
        return seconds


class Count(click.ParamType[int, str]):
    """A whole number. Click's own range would show itself in the help, behind what the help says."""

    name = "number"

    def __init__(self, *, least: int) -> None:
        self._least = least

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        try:
            number = int(value)
        except ValueError:
            number = self._least - 1
        if number < self._least:
            self.fail(f"{value!r} is not a whole number of at least {self._least}", param, ctx)
        return number


class Size(click.ParamType[int, str]):
    """A number of bytes: ``1000``, ``64k``, ``8M``, ``1G``, in powers of 1,024."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        found = _SIZE.fullmatch(str(value))
        size = int(found[1]) * 1024 ** " kmg".index((found[2] or " ").lower()) if found else 0
        if size < 1:
            self.fail(f"{value!r} is not a size such as 1000, 64k or 8M", param, ctx)
        return size


class Moment(click.ParamType[float, str]):
    """A moment: a date, a date and time (UTC unless it says else), or how long ago (``2h``, ``7d``)."""

    name = "when"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds since the epoch."""
        if isinstance(value, float):  # click converts twice what is a default
            return value
        try:
            if ago := _AGO.fullmatch(value):
                return (datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).timestamp()
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no date such as 2026-01-31, nor a time ago such as 2h or 7d", param, ctx)


class JobId(click.ParamType[str, str]):
    """A job's id, or ``last`` for the newest job."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id, as the server spells it."""
        job_id = value.strip().lower()
        if job_id != "last" and not re.fullmatch("[0-9a-f]{32}", job_id):
            self.fail(f"{value!r} is not 32 hexadecimal digits, nor 'last'", param, ctx)
        return job_id

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        """The newest jobs, each with its command."""
        from click.shell_completion import CompletionItem

        from pushy_cli.completing import job_ids

        jobs = [("last", "the newest job"), *job_ids(ctx)]
        return [CompletionItem(job_id, help=command) for job_id, command in jobs if job_id.startswith(incomplete)]


class Named(click.ParamType[str, str]):
    """The name of something that the server has, such as a node or a client."""

    def __init__(self, kind: str) -> None:
        """:param kind: ``node``, ``client``, ``user`` or ``group``"""
        self.name = kind

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name; one that would change a URL's path is none."""
        if not value or value in {".", ".."} or len(value) > 255 or not value.isprintable():
            self.fail(f"{value!r} is no name of a {self.name}", param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        """The names that begin so."""
        from click.shell_completion import CompletionItem

        from pushy_cli.completing import names

        return [CompletionItem(name) for name in names(ctx, self.name) if name.startswith(incomplete)]


class NodeWord(click.ParamType[str, str]):
    """A node's name, or a range, glob, ``@file`` or ``@group`` of some; what it means is read later."""

    name = "node"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        """The nodes that begin so."""
        return Named("node").shell_complete(ctx, param, incomplete)
