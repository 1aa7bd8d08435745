"""``config check``: looks at each step to the server, and says of the first that fails what is wrong."""

from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from socket import gaierror, getaddrinfo
from urllib.parse import urlsplit

from attrs import asdict, frozen
from twisted.internet.threads import deferToThread

from pushy_cli.errors import NO_SERVER, CliError, NotFound, Refused, Rejected
from pushy_cli.proxy import proxy_for
from pushy_cli.render import BAD, GOOD, WARNING, Style, paint, plain
from pushy_cli.session import Session

MAX_SKEW = 900
"""Seconds that a clock may be off, by the protocol."""

_FORBIDDEN = "does not allow this"


@frozen(kw_only=True)
class Finding:
    """What one step showed; `ok` is None where it cannot be told, or does not matter."""

    step: str
    ok: bool | None
    told: str
    hint: str = ""


async def check(session: Session) -> int:
    """Check everything; the exit status is 0 if jobs can be looked at."""
    findings: list[Finding] = []
    for step, look in _STEPS:
        try:
            finding = await look(session)
        except CliError as error:
            finding = Finding(step=step, ok=False, told=error.what, hint=error.hint)
        findings.append(finding)
        if finding.ok is False:
            break
    session.show(
        [asdict(finding) for finding in findings],
        names=[finding.step for finding in findings if finding.ok is False],
        text=lambda style: "\n".join(_line(finding, style) for finding in findings),
    )
    return NO_SERVER if any(finding.ok is False for finding in findings) else 0


async def _settings(session: Session) -> Finding:
    settings = session.settings
    return Finding(step="settings", ok=True, told=f"{settings.client_name} at {settings.server_url}")


async def _name(session: Session) -> Finding:
    url = session.settings.server_url
    if proxy := proxy_for(url, session.place.environment):
        return Finding(step="name", ok=None, told=f"looked up by the proxy {proxy.host}:{proxy.port}")
    host = urlsplit(url).hostname or ""
    try:
        addresses = await deferToThread(getaddrinfo, host, None)
    except (gaierror, UnicodeError) as error:
        return Finding(
            step="name", ok=False, told=f"{host} has no address: {error}", hint="Check the server's URL, and DNS."
        )
    return Finding(step="name", ok=True, told=f"{host} is {', '.join(sorted({str(item[4][0]) for item in addresses}))}")


async def _connection(session: Session) -> Finding:
    settings = session.settings
    await session.transport.exchange("GET", "/pushy/_status")
    if urlsplit(settings.server_url).scheme == "http":
        return Finding(step="connection", ok=None, told="it answers, but without TLS: anybody may read along")
    if not settings.verify_tls:
        return Finding(step="connection", ok=None, told="it answers, but its certificate is not checked (verify_none)")
    return Finding(step="connection", ok=True, told="it answers, and its certificate is trusted")


async def _clock(session: Session) -> Finding:
    answer = await session.transport.exchange("GET", "/pushy/_status")
    try:
        skew = session.now() - parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except ValueError:
        return Finding(step="clock", ok=None, told="the server does not tell its time")
    told = "agrees with the server's" if abs(skew) < 2 else f"is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
    return Finding(step="clock", ok=abs(skew) < MAX_SKEW, told=f"this machine's {told}", hint="Set it by NTP.")


async def _key(session: Session) -> Finding:
    try:
        await session.transport.request("GET", "pushy/node_states/check")
    except Refused as error:
        if _FORBIDDEN not in error.what:
            raise
    except NotFound as error:
        return Finding(step="key", ok=False, told=error.what, hint=error.hint)
    return Finding(step="key", ok=True, told=f"the server knows {session.settings.client_name} by this key")


async def _reading(session: Session) -> Finding:
    await session.server.node_state("check")
    return Finding(step="reading", ok=True, told="may look at jobs and nodes")


async def _starting(session: Session) -> Finding:
    """A job request without a command is refused by every server; one that checks rights first says what they are."""
    try:
        await session.transport.request("POST", "pushy/jobs", b"{}")
    except Rejected:
        return Finding(step="starting", ok=True, told="may start jobs")
    except Refused:
        return Finding(
            step="starting",
            ok=None,
            told="may not start jobs",
            hint="Its group is pushy_job_writers.",
        )
    return Finding(step="starting", ok=None, told="the server does not say")


_STEPS: tuple[tuple[str, Callable[[Session], Awaitable[Finding]]], ...] = (
    ("settings", _settings),
    ("name", _name),
    ("connection", _connection),
    ("clock", _clock),
    ("key", _key),
    ("reading", _reading),
    ("starting", _starting),
)


def _line(finding: Finding, style: Style) -> str:
    mark, colour = {True: ("ok", GOOD), False: ("FAILED", BAD), None: ("-", WARNING)}[finding.ok]
    line = f"{finding.step:12}{paint(f'{mark:8}', colour, style)}{plain(finding.told)}"
    return line if finding.ok or not finding.hint else f"{line}\n{'':20}{plain(finding.hint)}"
