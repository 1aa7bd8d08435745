"""``twistd pushyd``: its options and the service that they make."""

import atexit
import gc
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.python import usage

from pushy_protocol.systemd import Systemd
from pushyd.config import HELP, ConfigError, Settings, load

_SWITCH_SECONDS = 0.0005
"""For which a thread may keep the interpreter while another one waits for it; a tenth of Python's default.

A small transaction of the store's thread takes it some thirty times, and each time it waited so long for a
reactor that was busy: half a second in all.
"""


class Options(usage.Options):
    """An option for every setting, which overrides the one in the file."""

    synopsis = "[options]"
    longdesc = "The push server: runs jobs on the nodes of a fleet, now, and knows what became of each."

    optParameters = [  # noqa: RUF012 - Twisted's name and form
        ["config", "c", None, "TOML file of settings"],
        *([name.replace("_", "-"), None, None, text] for name, text in HELP.items()),
    ]

    def settings(self) -> Settings:
        """The settings of file and command line.

        :raise ConfigError: one of them cannot be taken
        """
        given = {name: self[name.replace("_", "-")] for name in HELP}
        overrides = {name: value for name, value in given.items() if value is not None}
        return load(Path(self["config"]) if self["config"] else None, overrides)


def makeService(options: Options) -> Service:
    """The server, ready to be started. Makes the state directory, or ends with a line that says why it cannot."""
    from twisted.internet import reactor

    from pushyd.app import PushServer
    from pushyd.clock import be_monotonic
    from pushyd.state_dir import StateDirError, lock, open_state_dir

    try:
        settings = options.settings()
        held = lock(Path(settings.state_dir))
        state = open_state_dir(Path(settings.state_dir), settings.server_name)
    except (ConfigError, StateDirError) as error:
        raise SystemExit(f"pushyd: {error}") from None
    concrete: Any = reactor
    be_monotonic(concrete)
    sys.setswitchinterval(_SWITCH_SECONDS)
    concrete.callWhenRunning(_keep_what_is_there)
    systemd = Systemd.of(os.environ)

    def failed() -> None:
        # twistd ends with 0 whatever happened; who supervises it has to know better.
        atexit.register(_exit_with_failure)
        if concrete.running:
            concrete.stop()
        else:
            concrete.callWhenRunning(concrete.stop)

    # The reactor's own handler has twistd end by the signal; to be asked to stop is no failure. It is in place only
    # once the reactor runs.
    concrete.callWhenRunning(signal.signal, signal.SIGTERM, lambda *_: concrete.callFromThread(concrete.stop))
    server = PushServer(
        reactor=concrete, settings=settings, state=state, lock=held, now=time.time, failed=failed, systemd=systemd
    )
    concrete.callWhenRunning(signal.signal, signal.SIGHUP, lambda *_: concrete.callFromThread(server.reload))
    return server


def _keep_what_is_there() -> None:
    """Let the garbage collector pass over what was imported: to look at all of it, as it did now and then, took a tenth
    of a second, in which nobody was answered.
    """
    gc.collect()
    gc.freeze()


def _exit_with_failure() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def main() -> None:
    """``pushyd …`` is ``twistd --nodaemon --pidfile= pushyd …``."""
    from twisted.application import app
    from twisted.application.service import ServiceMaker
    from twisted.scripts import twistd

    ours = ServiceMaker("pushyd", __name__, "", "pushyd")
    server_options: Any = twistd.ServerOptions  # type: ignore[attr-defined]  # not exported by name, but documented

    class OurOptions(server_options):  # type: ignore[misc]  # as above
        """Knows this one plugin: to look for all of them would write a cache of them where nothing may be written."""

        _getPlugins = staticmethod(lambda _interface: [ours])

    sys.argv[1:1] = ["--nodaemon", "--pidfile=", "pushyd"]
    app.run(twistd.runApp, OurOptions)
