"""What goes wrong for a user: one line that says what, one that says what to do next, and an exit status."""

import os
import sys

FAILED = 1
USAGE = 2
NO_SERVER = 6
"""The server cannot be reached, refuses us, or does not speak the protocol; also: we do not know who we are."""

INTERRUPTED = 130
BROKEN_PIPE = 141


class CliError(Exception):
    """An error to show to the user; never with a traceback.

    :param what: what is wrong, in one line
    :param hint: what to do next, in one line
    """

    status = NO_SERVER

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class ConfigurationError(CliError):
    """The server, the name or the key is not known, or a setting is wrong."""


class Unreachable(CliError):
    """No answer came from the server; it may come later."""


class NoAnswer(Unreachable):
    """As that, and the request may have arrived."""


class Untrusted(CliError):
    """Who answered has no certificate that we believe."""


class ServerFault(CliError):
    """The server answered that it is at fault or busy (5xx, 408, 429); it may recover."""


class Garbage(CliError):
    """What answered does not speak the Push Jobs API."""


class Refused(CliError):
    """The server does not believe who we are (401), or does not allow it (403)."""


class Rejected(CliError):
    """The server found the request wrong (400), or too large (413)."""

    status = USAGE


class NotFound(CliError):
    """The server has nothing there (404): what was asked for, or the organization itself."""


class NotOffered(CliError):
    """The server does not have what the command needs; an older one may not."""

    status = FAILED


class Conflict(CliError):
    """It cannot be done as things stand (409): a job has ended, a name is taken."""

    status = FAILED


class Declined(CliError):
    """The user, asked, said no; or there was nobody to ask."""

    status = USAGE


class UnknownJob(NotFound):
    """There is no such job."""

    status = FAILED


def missing(kind: str, name: str, error: CliError) -> str:
    """What to say of something that is not there; with the server's words, if they are of something else.

    An organization that is unknown may be the reason.
    """
    there_is_none = f"There is no {kind} {name}"
    return there_is_none if name in error.what else f"{there_is_none} ({error.what})"


def reader_has_gone() -> int:
    """Give up stdout, which nobody reads any more (as in ``pushy job list | head``); the exit status for that.

    What Python still flushes at its end must go somewhere.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return BROKEN_PIPE
