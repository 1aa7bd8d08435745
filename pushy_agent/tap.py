"""`twistd pushy-agent` and the console script `pushy-agent`: options, and the service that they make.

Whatever is wrong with them ends the start with one line and status 1.
"""

import atexit
import os
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile

from pushy_agent.config import Config, ConfigError, load
from pushy_agent.logs import make_observer, open_log
from pushy_agent.whitelist import Entry, Whitelist
from pushy_protocol.systemd import Systemd

DEFAULT_CONFIG = "/etc/pushy/pushy-agent.toml"
DEFAULT_LOGFILE = "pushy-agent.log"
"""Where a daemon logs that was not told where."""
RESTART = 75
"""Exit status of an agent that wants to be started again; of sysexits.h, "try again"."""

_UNUSED = ("pdb",)
"""What twistd imports for its --debug alone."""

# The settings that options go before, by the names of both.
_SETTINGS = {
    "client-key": "client_key",
    "log_level": "log_level",
    "logfile": "logfile",
    "node-name": "node_name",
    "server": "chef_server_url",
    "file_dir": "file_dir",
    "max-body-size": "max_body_size",
}


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise usage.UsageError(f"max-body-size: expected an integer, got {text!r}") from None


class Options(usage.Options):
    """The command line, by the original's names; `config` holds the settings once it is parsed."""

    synopsis = "[options]"
    longdesc = (
        "Runs the commands that a push server asks this node for, as far as its whitelist allows them. "
        "To convert Chef's push-jobs-client.rb: pushy-agent import-config --help"
    )

    optParameters = [  # noqa: RUF012 - Twisted's way
        ["config", "c", DEFAULT_CONFIG, "The settings, a TOML file"],
        ["client-key", "k", None, "This node's private key"],
        ["log_level", "l", None, "What to log: debug, info, warn, error, critical"],
        ["logfile", "L", None, "Where to log, instead of the standard output"],
        ["node-name", "N", None, "This node's name"],
        ["server", "S", None, "The server, https://HOST[:PORT]/organizations/ORG"],
        ["file_dir", "d", None, "The directory for the files that jobs bring along"],
        ["max-body-size", "M", None, "The longest message, in bytes", _integer],
        ["explain", None, None, "Print what a job of that name would run here, and exit"],
    ]

    optFlags = [  # noqa: RUF012 - Twisted's way
        ["check-config", None, "Check the settings and the whitelist, print what is allowed, and exit"],
        ["doctor", None, "Check all that lies between this node and its server, once, say what to do, and exit"],
    ]

    config: Config
    parent: Any  # twistd's options; None where these are parsed alone

    def parseOptions(self, options: Any = None) -> None:
        """Parse, and read the settings.

        :raise SystemExit: something is wrong with them; its code is the line that says what.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]  # Twisted's
        except usage.UsageError as error:
            raise SystemExit(f"pushy-agent: {error} (see pushy-agent --help)") from None

    def postOptions(self) -> None:
        """Read the settings."""
        try:
            self.config = self.load(socket.getfqdn)
        except ConfigError as error:
            raise SystemExit(f"pushy-agent: {error}") from None
        if self["explain"] is not None:
            print(explain(self.config.whitelist, self["explain"]))  # noqa: T201 - what it is for
            raise SystemExit(0 if self.config.whitelist.look_up(self["explain"]) else 1)
        if self["check-config"]:
            for entry in self.config.whitelist.entries:
                kind = "names like" if entry.pattern else "name"
                print(f"{kind} {entry.name!r}: {describe(entry, entry.words)}")  # noqa: T201
            raise SystemExit(0)
        if self["doctor"]:
            from pushy_agent.doctor import run

            raise SystemExit(run(self.config))

    def load(self, fqdn: Callable[[], str]) -> Config:
        """The settings, as they are now.

        :param fqdn: gives the name of a node that is not told its name
        :raise ConfigError: they are none.
        """
        given = {key: self[name] for name, key in _SETTINGS.items() if self[name] is not None}
        return load(Path(self["config"]), given, fqdn, environment=os.environ)

    def opt_version(self) -> None:
        """Print the version and exit."""
        from importlib.metadata import version  # half a megabyte that nothing else needs

        print(f"pushy-agent {version('pushy')}")  # noqa: T201 - what it is for
        sys.exit(0)

    opt_v = opt_version

    def opt_h(self) -> None:
        """Print this help and exit."""
        self.opt_help()  # type: ignore[no-untyped-call]  # Twisted's

    @property
    def logs_elsewhere(self) -> bool:
        """Whether twistd was told to use the system's log or another."""
        return self.parent is not None and bool(self.parent.get("logger") or self.parent.get("syslog"))

    @property
    def log_path(self) -> Path | None:
        """The file to log to, None for the standard output: as our settings say, then as twistd was told."""
        if self.config.logfile is not None:
            return self.config.logfile
        twistd = self.parent or {"nodaemon": True}
        name = twistd.get("logfile") or ("-" if twistd["nodaemon"] else DEFAULT_LOGFILE)
        return None if name == "-" else Path(name).absolute()


def describe(entry: Entry, argv: Sequence[str]) -> str:
    """What an entry runs, and how, in one line."""
    words = {
        "user": entry.user,
        "allow_user": None if entry.allow_user is None else sorted(entry.allow_user),
        "dir": entry.dir,
        "env": dict(entry.env) or None,
        "lock": str(entry.lock) if entry.lock else None,
        "timeout": entry.timeout,
    }
    said = ", ".join(f"{name} {value}" for name, value in words.items() if value is not None)
    script = " (by /bin/sh)" if entry.shell and len(argv) == 1 else ""
    return shlex.join(argv) + script + (f" [{said}]" if said else "")


def explain(whitelist: Whitelist, name: str) -> str:
    """What a job of that name would run, and by which entry, in one line."""
    match = whitelist.look_up(name)
    if match is None:
        return f"{name!r} is not allowed"
    return f"{name!r} is allowed by {match.entry.name!r} and runs: {describe(match.entry, match.argv)}"


class Agent(MultiService):
    """The agent as an application of twistd: it brings its own log, whose level twistd knows nothing of.

    And it obeys signals that twistd leaves alone.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self._options = options
        self._signals: dict[signal.Signals, Callable[[], None]] = {}
        self._log: LogFile | None = None

    def on_signal(self, number: signal.Signals, call: Callable[[], None]) -> None:
        """Have something called, safely outside of the signal handler, when a signal comes."""
        self._signals[number] = call

    def privilegedStartService(self) -> None:
        """Obey signals from before the start, so that none ends the process."""
        for number, call in self._signals.items():
            signal.signal(number, partial(_call, call))
        super().privilegedStartService()  # type: ignore[no-untyped-call]  # Twisted's

    def setServiceParent(self, parent: Any) -> None:
        """Join an application, which twistd asks next where to log."""
        if isinstance(parent, Componentized) and not self._options.logs_elsewhere:
            try:
                stream: Any = open_log(self._options.log_path)
            except OSError as error:
                raise SystemExit(f"pushy-agent: logfile: {error.filename}: {error.strerror}") from None
            self._log = stream if isinstance(stream, LogFile) else None
            parent.setComponent(ILogObserver, make_observer(self._options.config.log_level, stream))
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]  # Twisted's

    def reopen_log(self) -> None:
        """Go on in a new file, if the log's was moved away."""
        if self._log is not None:
            self._log.reopen()


def _call(call: Callable[[], None], _number: int, _frame: FrameType | None) -> None:
    call()


def makeService(options: Options) -> Service:
    """The agent that the options describe."""
    from twisted.internet import reactor  # twistd may have chosen one by now

    from pushy_agent.app import AgentService, Surroundings
    from pushy_agent.clock import be_monotonic
    from pushy_agent.settings import Settings

    be_monotonic(reactor)
    agent = Agent(options)
    settings = Settings(options.config, partial(options.load, lambda: options.config.node_name))
    # Before the environment is looked at, which jobs inherit.
    systemd = Systemd.of(os.environ)
    service = AgentService(settings, reactor, Surroundings(systemd=systemd))
    concrete: Any = reactor
    later: Callable[..., None] = concrete.callFromThread

    def reload() -> None:
        agent.reopen_log()
        service.reload()

    def restart() -> None:
        _ = Deferred.fromCoroutine(service.idle()).addCallback(_leave, concrete)

    agent.on_signal(signal.SIGHUP, partial(later, reload))
    agent.on_signal(signal.SIGUSR1, partial(later, service.renew))
    agent.on_signal(signal.SIGUSR2, partial(later, restart))
    service.setServiceParent(agent)  # type: ignore[no-untyped-call]  # Twisted's
    return agent


def _leave(_: object, reactor: Any) -> None:
    # twistd knows no way to end with a status of ours.
    atexit.register(_exit_to_restart)
    with suppress(ReactorNotRunning):  # it is asked to stop already
        reactor.stop()


def _exit_to_restart() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(RESTART)


def _spare_memory() -> None:
    """Have Twisted not load what the agent never uses: 10 MB on every node."""
    sys.modules["OpenSSL"] = None  # type: ignore[assignment]  # makes an import fail; for TLS, which is not Twisted's here
    for name in _UNUSED:
        if name not in sys.modules:
            _load_at_first_use(name)


def _load_at_first_use(name: str) -> None:
    # importlib's LazyLoader loads as soon as the module is imported once more.
    stand_in = sys.modules[name] = ModuleType(name)

    def look_up(attribute: str) -> Any:
        if attribute.startswith("__"):  # whoever looks at all modules does not use this one
            raise AttributeError(attribute)
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(import_module(name), attribute)

    stand_in.__getattr__ = look_up  # type: ignore[method-assign]  # of a module, see PEP 562


def main() -> None:
    """The console script: ``twistd -n pushy-agent`` with the same arguments, and without a pid file.

    But for ``pushy-agent import-config``, which is a program of its own.
    """
    if sys.argv[1:2] == ["import-config"]:
        from pushy_agent.import_config.command import main as import_config

        import_config(sys.argv[2:])
    _spare_memory()
    from twisted.application import app
    from twisted.application.service import ServiceMaker
    from twisted.scripts import twistd

    ours = ServiceMaker("pushy-agent", __name__, "", "pushy-agent")
    server_options: Any = twistd.ServerOptions  # type: ignore[attr-defined]  # not exported by name, but documented

    class OurOptions(server_options):  # type: ignore[misc]  # as above
        """Knows this one plugin: to look for all of them would import megabytes of what is never used."""

        _getPlugins = staticmethod(lambda _interface: [ours])

    sys.argv = ["twistd", "--nodaemon", "--pidfile=", "pushy-agent", *sys.argv[1:]]
    app.run(twistd.runApp, OurOptions)
