"""The settings of an agent that runs: read anew when their files have changed or it is told to, kept when they are bad.

What an agent is (its name, its state, where it logs) changes with a restart only.
"""

from collections.abc import Callable
from pathlib import Path

from attrs import evolve
from twisted.logger import Logger

from pushy_agent.config import Config, ConfigError

_FIXED = ("node_name", "state_dir", "logfile", "log_level")


class Settings:
    """The settings of the moment."""

    log = Logger()

    def __init__(self, config: Config, load: Callable[[], Config]) -> None:
        """:param load: reads them again, or raises ConfigError"""
        self.config = config
        self._load = load
        self._seen = _stamps(config.sources)

    def reload(self) -> bool:
        """Read them again; whether they could be. Where they are none, the old ones stay."""
        # Looked at first: what changes while we read is noticed the next time.
        seen = _stamps(self.config.sources)
        try:
            new = self._load()
        except ConfigError as error:
            self.log.warn("The settings are not usable, so the old ones stay: {error}", error=error)
            self._seen = seen
            return False
        old = self.config
        if fixed := [name for name in _FIXED if getattr(old, name) != getattr(new, name)]:
            self.log.warn("What has changed of {names} takes a restart", names=", ".join(fixed))
        self.config = evolve(new, **{name: getattr(old, name) for name in _FIXED})
        self._seen = seen if new.sources == old.sources else _stamps(new.sources)
        self.log.info("The settings have been read again")
        return True

    def refresh(self) -> Config:
        """The settings, read again if a file of theirs has changed."""
        if _stamps(self.config.sources) != self._seen:
            self.reload()
        return self.config


def _stamps(paths: tuple[Path, ...]) -> list[tuple[int, ...] | None]:
    """What shows that a file, or the names in a directory, have changed."""
    return [_stamp(path) for path in paths]


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
