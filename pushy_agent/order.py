"""What a commit asks for, checked, and made into all that a child process needs.

Everything that can be known before the command runs is checked here, when the server asks, so that a node that
cannot says no while the others still vote: the whitelist, the user, the directory, the environment, the file. The
reasons of a refusal are words of the protocol. Nothing is written or started here. Looking up a user may wait for
another machine (LDAP), so a check is made off the reactor's thread.
"""

import os
import pwd
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import field, frozen

from pushy_agent import locks
from pushy_agent.output import CAPTURE_LIMIT
from pushy_agent.tree import job_environment
from pushy_agent.whitelist import Entry, Whitelist
from pushy_protocol.api import InvalidRequest, decode_file
from pushy_protocol.messages import Commit

# Each of these makes a program run or load something else than the whitelist says.
_DANGEROUS_PREFIXES = ("BASH_", "CHEF_PUSH_", "DYLD_", "GIT_", "LD_", "MALLOC_", "NODE_", "PERL", "PYTHON", "RUBY")
# fmt: off
_DANGEROUS_NAMES = frozenset({
    "BASHOPTS", "CDPATH", "EDITOR", "ENV", "GCONV_PATH", "GLIBC_TUNABLES", "GLOBIGNORE", "HOSTALIASES", "IFS",
    "JAVA_TOOL_OPTIONS", "LOCPATH", "NLSPATH", "PAGER", "PATH", "PROMPT_COMMAND", "PS4", "SHELL", "SHELLOPTS",
    "TMPDIR", "VISUAL",
})
# fmt: on


_OTHERWISE = "CHEF_PUSH_ENV_"
"""Before the name of a variable that a job may not set by its own."""


class Refused(Exception):
    """A commit that this node will not make; `reason` is for the server, the text for the log."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@frozen(kw_only=True)
class Identity:
    """A user of this machine, with all that becoming them takes."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str

    def environment(self) -> dict[str, str]:
        """The variables that tell programs who they are."""
        return {"HOME": self.home, "LOGNAME": self.name, "USER": self.name, "SHELL": self.shell}


@frozen(kw_only=True)
class Order:
    """One job as it will run here. `identity` is None for the agent's own; `env` is all of the environment.

    :param lock: a file to lock as long as there is this order
    :param timeout: seconds that it may run, None for as long as the server lets it
    :param capture_limit: bytes kept of each output
    :param streamed: the outputs travel while it runs, and not with its result
    :param live: as soon as they come
    """

    job_id: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: str = "/"
    identity: Identity | None = None
    file: bytes | None = field(default=None, repr=False)
    capture: bool = False
    capture_limit: int = CAPTURE_LIMIT
    streamed: bool = False
    live: bool = False
    lock: Path | None = None
    timeout: float | None = None


def look_up_user(name: str) -> Identity:
    """The user of that name, with their supplementary groups.

    :raise KeyError: there is none.
    """
    try:
        entry = pwd.getpwnam(name)
    except (ValueError, UnicodeEncodeError):  # a NUL or a lone surrogate, which no name contains
        raise KeyError(name) from None
    return Identity(
        name=entry.pw_name,
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        groups=tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)),
        home=entry.pw_dir,
        shell=entry.pw_shell or "/bin/sh",
    )


@frozen(kw_only=True)
class OrderDesk:
    """Checks commits against this node.

    :param environment: what every command gets, before what belongs to the job
    :param allowed_env: the names that a job may set; all others arrive as ``CHEF_PUSH_ENV_NAME``. None for all names
        but those that are dangerous
    :param lock_dir: where the locks are of entries that name no file
    :param uid: the agent's own user; only root becomes another
    :param streams: the server takes outputs while commands run
    """

    whitelist: Whitelist
    node_name: str
    environment: Mapping[str, str] = field(repr=False)
    allowed_env: frozenset[str] | None = None
    lock_dir: Path
    uid: int
    streams: bool = False
    look_up_user: Callable[[str], Identity] = look_up_user

    def check(self, commit: Commit) -> Order:
        """The order that a commit makes.

        :raise Refused: it makes none here.
        """
        match = self.whitelist.look_up(commit.command)
        if match is None:
            raise Refused("not_whitelisted", f"the whitelist has no {commit.command!r}")
        entry = match.entry
        identity = self._identity(self._user(commit.user, entry))
        env = {
            **self.environment,
            **(identity.environment() if identity else {}),
            **self._job_env(commit.env or {}),
            **entry.env,
            **job_environment(commit.job_id, self.node_name),
        }
        return Order(
            job_id=commit.job_id,
            argv=match.argv,
            env=env,
            cwd=self._directory(commit.dir, entry, identity),
            identity=identity,
            file=self._file(commit.file),
            capture=commit.capture,
            capture_limit=self._capture_limit(commit, entry),
            streamed=commit.capture and self.streams,
            live=commit.live,
            lock=locks.path_of(self.lock_dir, entry.name) if entry.lock is True else entry.lock or None,
            timeout=entry.timeout,
        )

    def _capture_limit(self, commit: Commit, entry: Entry) -> int:
        asked = commit.output_limit if self.streams and commit.output_limit is not None else CAPTURE_LIMIT
        return asked if entry.capture_limit is None else min(asked, entry.capture_limit)

    @staticmethod
    def _user(asked: str | None, entry: Entry) -> str | None:
        if asked is None:
            return entry.user
        if not entry.may_run_as(asked):
            raise Refused("user_not_allowed", f"the whitelist does not let {entry.name!r} run as {asked!r}")
        return asked

    def _identity(self, name: str | None) -> Identity | None:
        if name is None:
            return None
        try:
            identity = self.look_up_user(name)
        except KeyError:
            raise Refused("no_such_user", f"this node has no user {name!r}") from None
        if self.uid not in {0, identity.uid}:
            raise Refused("no_such_user", f"the agent does not run as root, so it cannot become {name!r}")
        return identity

    def _job_env(self, env: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in env.items():
            if not name or "=" in name or "\0" in name + value:
                raise Refused("bad_env", f"env: {name!r} is no name and value of an environment variable")
            if self.allowed_env is None and is_dangerous(name):
                raise Refused("bad_env", f"env: {name} is not listed in allowed_overwritable_env_vars")
        if self.allowed_env is None:
            return env
        return {name if name in self.allowed_env else _OTHERWISE + name: value for name, value in env.items()}

    def _directory(self, asked: str | None, entry: Entry, identity: Identity | None) -> str:
        if asked is not None and entry.dir not in {None, asked}:
            raise Refused("dir_not_allowed", f"the whitelist has {entry.name!r} run in {entry.dir!r} only")
        path = asked if asked is not None else entry.dir
        if path is None:
            return "/"
        if not may_enter(path, identity, self.uid):
            raise Refused("no_such_dir", f"dir: {path!r} is no directory that the job's user can enter")
        return path

    @staticmethod
    def _file(text: str | None) -> bytes | None:
        try:
            return None if text is None else decode_file(text)
        except InvalidRequest as error:
            raise Refused("bad_file", str(error)) from None


def is_dangerous(name: str) -> bool:
    """Whether an environment variable of that name changes which program or library runs."""
    return name in _DANGEROUS_NAMES or name.startswith(_DANGEROUS_PREFIXES)


def may_enter(path: str, identity: Identity | None, uid: int) -> bool:
    """Whether `path` is absolute and a directory that the user (None: we, of this `uid`) can enter, by its modes.

    Every directory on the way must be searchable. The kernel enters it as the agent, before the user changes, so
    this is where it is decided.
    """
    if not path.startswith("/") or "\0" in path:
        return False
    if identity is None or identity.uid == uid:
        return Path(path).is_dir() and os.access(path, os.X_OK)
    try:
        real = Path(path).resolve(strict=True)
        return real.is_dir() and all(_searchable(step.stat(), identity) for step in (real, *real.parents))
    except (OSError, RuntimeError):  # a link that turns in circles is a RuntimeError
        return False


def _searchable(status: os.stat_result, identity: Identity) -> bool:
    if identity.uid == 0:
        return True
    if status.st_uid == identity.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == identity.gid or status.st_gid in identity.groups:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)
