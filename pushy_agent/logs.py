"""The agent's log: lines of text, from a level up, without the small talk of libraries."""

import sys
from pathlib import Path
from typing import TextIO, cast

from twisted.logger import (
    FilteringLogObserver,
    ILogFilterPredicate,
    ILogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    textFileLogObserver,
)
from twisted.python.logfile import LogFile

_ROTATE_BYTES = 10_000_000
_KEEP = 5
# Every factory and port reports its start and its end there.
_TALKATIVE = ("twisted.web", "twisted.internet", "twisted.application")


def make_observer(level: str, stream: TextIO) -> ILogObserver:
    """What takes the log's events: it writes those of `level` and above to a stream."""
    predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.lookupByName(level))
    if level != "debug":
        for namespace in _TALKATIVE:
            predicate.setLogLevelForNamespace(namespace, LogLevel.warn)
    # What mypy takes from zope's interfaces, these do provide.
    observer = cast("ILogObserver", textFileLogObserver(stream))
    return cast("ILogObserver", FilteringLogObserver(observer, [cast("ILogFilterPredicate", predicate)]))


def open_log(path: Path | None) -> TextIO:
    """The stream to log to: a file that is rotated when it is large, or the standard output.

    :raise OSError: the file cannot be opened.
    """
    if path is None:
        return sys.stdout
    file = LogFile(path.name, str(path.parent), rotateLength=_ROTATE_BYTES, maxRotatedFiles=_KEEP, defaultMode=0o640)
    return cast("TextIO", file)  # it writes text or bytes, but has no type that says so
