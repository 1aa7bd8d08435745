"""A job's command as a child process: started, listened to, ended with all that came of it.

`subprocess.Popen` starts it (own session, no descriptor but three, another user, all of it done in C between fork
and exec, so that a command that cannot be started is an exception here). The child is not reaped before it is done
with: a zombie keeps its process id, and with it the group's, from being given to a stranger whom we would then kill.

The job has ended when the child has exited; what others still hold open of its output is read for :data:`GRACE`
seconds, and they may live on. While it is being ended it lasts until none is left of its processes, also of those that
have left its session: by its control group (:mod:`cgroup`), where it has one, and by what the kernel tells of all
processes (:mod:`tree`).
"""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from twisted.logger import Logger

from pushy_agent import tree
from pushy_agent.cgroup import Group
from pushy_agent.clock import DelayedCall, Reactor
from pushy_agent.job import Exit
from pushy_agent.order import Order
from pushy_agent.output import Capture
from pushy_agent.pipes import Output, Reader, Sink

GRACE = 0.5
"""Seconds for output that comes after the command's end."""

TERM_TIME = 5.0
"""Seconds between TERM and KILL, and between KILL and giving up."""

_SWEEPS = 5
_UMASK = 0o022


class CannotStart(Exception):
    """A command that cannot be started; `reason` is for the server, the text for the log."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Process:
    """A command that runs; `ended` is called once, with how it ended, and never from within a call from outside."""

    log = Logger()

    def __init__(
        self,
        reactor: Reactor,
        order: Order,
        env: Mapping[str, str],
        ended: Callable[[Exit], None],
        *,
        sinks: tuple[Sink, Sink] | None = None,
        group: Group | None = None,
        term_time: float = TERM_TIME,
    ) -> None:
        """Start it.

        :param env: its whole environment
        :param sinks: where its stdout and stderr go, when they are captured; where there are none, they are part of
            how it ended
        :param group: the job's control group, where it has one
        :param term_time: seconds from TERM to KILL
        :raise CannotStart: it cannot be.
        """
        self._reactor = reactor
        self._ended = ended
        self._term_time = term_time
        self._job_id = order.job_id
        self._group = group
        self._child = _start(order, env, group)
        entry = tree.look_at(self._child.pid)
        self._began = entry.started if entry else 0
        self._ending = False
        self._killing = False
        self._exited = False
        self._finished = False
        self._timer: DelayedCall | None = None
        self._check: DelayedCall | None = None
        self._watch = self._watch_child()
        own = (Capture(order.capture_limit), Capture(order.capture_limit))
        self._captures = own if order.capture and sinks is None else None
        pipes = (self._child.stdout, self._child.stderr)
        self._outputs = [
            Output(reactor, pipe, sink, self._output_closed)
            for pipe, sink in zip(pipes, sinks or own, strict=True)
            if pipe is not None
        ]

    @property
    def pid(self) -> int:
        """Its process id, which is its group's and its session's too."""
        return self._child.pid

    def end(self) -> None:
        """End all of its processes: TERM now, KILL after `term_time` to what is left. A second call does nothing."""
        if self._ending or self._finished:
            return
        self._ending = True
        self._set_timer(self._term_time, self._kill)
        self._signal(signal.SIGTERM)
        if self._exited:
            self._await_all()

    def _watch_child(self) -> Reader:
        try:
            descriptor = os.pidfd_open(self._child.pid)
        except OSError as error:  # no descriptors left
            os.killpg(self._child.pid, signal.SIGKILL)
            with self._child:  # closes the pipes, and reaps
                raise CannotStart("cannot_start", f"watching the command: {error}") from None
        return Reader(self._reactor, descriptor, self._child_exited, partial(os.close, descriptor))

    def _child_exited(self) -> None:
        self._watch.close()
        self._exited = True
        if self._ending:
            self._await_all()
        else:
            self._drain()

    def _await_all(self) -> None:
        self._check = None
        # More than one look: what forks and ends all the time can be missed by one, which is not of a single moment,
        # and is gone on when its signal comes.
        for _ in range(_SWEEPS if self._killing else 1):
            left = self._members() or self._members()
            if not left:
                self._drain()
                return
            if self._killing:
                self._kill_group()
                tree.send(signal.SIGKILL, left)
        self._check = self._reactor.callLater(tree.CHECK_EVERY, self._await_all)

    def _kill(self) -> None:
        self.log.warn("Processes {left} are still there after SIGTERM, so they are killed", left=self._left())
        self._killing = True
        self._set_timer(self._term_time, self._give_up)
        self._kill_group()
        self._signal(signal.SIGKILL)

    def _kill_group(self) -> None:
        if self._group is not None:
            self._group.kill()

    def _give_up(self) -> None:
        self.log.error("Processes {left} cannot be killed; they are left", left=self._left())
        self._finish()

    def _members(self) -> list[tree.Entry]:
        found = tree.members(self.pid, self._began, self._job_id)
        known = {entry.pid for entry in found} | {os.getpid()}
        return [*found, *(entry for entry in self._of_group() if entry.pid not in known and entry.is_alive)]

    def _of_group(self) -> list[tree.Entry]:
        if self._group is None:
            return []
        looked_at = [tree.look_at(pid) for pid in self._group.pids()]
        # Who is still in it was looked at, and not a stranger that was given the id of one that is gone.
        still = set(self._group.pids())
        return [entry for entry in looked_at if entry is not None and entry.pid in still]

    def _left(self) -> list[int]:
        return [entry.pid for entry in self._members()]

    def _drain(self) -> None:
        self._set_timer(GRACE, self._finish)
        self._output_closed()

    def _output_closed(self) -> None:
        # The timer tells that all else is over: before the child's exit an output that is closed means nothing.
        if self._exited and self._check is None and not any(output.is_open for output in self._outputs):
            # Not now: whoever called end() must have returned first.
            self._set_timer(0, self._finish)

    def _finish(self) -> None:
        self._finished = True
        if self._check is not None:
            self._check.cancel()
            self._check = None
        self._watch.close()
        for output in self._outputs:
            output.finish()
        # After a KILL that had no effect there may be nothing to reap; Popen then reaps it later, by itself.
        status = self._child.poll()
        if status is None:
            status = -signal.SIGKILL
        if self._group is not None:
            _ = self._group.remove()  # later, where a daemon lives on
        stdout, stderr = (capture.captured() for capture in self._captures) if self._captures else (None, None)
        self._ended(
            Exit(
                status=status if status >= 0 else None,
                signal=-status if status < 0 else None,
                stdout=stdout,
                stderr=stderr,
            )
        )

    def _signal(self, number: int) -> None:
        # The group at once, so that it cannot fork away from us. It may be gone but for the zombie that we keep, which
        # takes any signal.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        tree.send(number, [entry for entry in self._members() if entry.group != self.pid])

    def _set_timer(self, delay: float, call: Callable[[], None]) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._reactor.callLater(delay, call)


def _start(order: Order, env: Mapping[str, str], group: Group | None) -> "subprocess.Popen[bytes]":
    if group is not None:
        with suppress(OSError), group.entered():  # not ours any more: it does without
            return _popen(order, env)
    return _popen(order, env)


def _popen(order: Order, env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    output = subprocess.PIPE if order.capture else subprocess.DEVNULL
    identity = order.identity
    # Only root may set groups, and whoever is not root stays who he is.
    become = identity is not None and os.geteuid() == 0
    try:
        return subprocess.Popen(  # noqa: S603 - the whitelist is the check
            order.argv,
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=order.cwd,
            env=env,
            start_new_session=True,
            umask=_UMASK,
            user=identity.uid if become and identity else None,
            group=identity.gid if become and identity else None,
            extra_groups=identity.groups if become and identity else None,
        )
    except FileNotFoundError as error:
        if error.filename == order.cwd:
            raise CannotStart("no_such_dir", f"{order.cwd}: {error.strerror}") from None
        raise CannotStart("no_such_command", f"{order.argv[0]}: {error.strerror}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL or a lone surrogate
        raise CannotStart("cannot_start", f"{order.argv[0]}: {error}") from None
