"""``pushyd-ctl check``: what is wrong with a server's surroundings, and how it is mended. Nothing is changed here.

A check is a function that yields what it found; it is not the first to be hurt by what is wrong, so it never raises
for that.
"""

import socket
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from stat import S_IMODE

from sqlalchemy import func, select

from pushy_protocol.keys import CurveKeyPair, KeyFormatError, parse_private_key
from pushyd import certificates
from pushyd.config import Settings
from pushyd.ctl.context import Server
from pushyd.ctl.finding import Finding
from pushyd.state_dir import FORMAT, StateDirError, lock_is_held
from pushyd.store.engine import database_path, is_sqlite, parse_url
from pushyd.store.interface import StoreUnavailable
from pushyd.store.schema import jobs

PUBLIC = {"ca.pem", "tls-cert.pem"}
EXPIRES_SOON = timedelta(days=30)
SKEW_SECONDS = 5.0


def check(server: Server, now: float) -> Iterator[Finding]:
    """Look at everything.

    :param now: seconds since the epoch
    """
    if not server.state.is_dir():
        yield Finding("state directory", f"{server.state} is not there", "make it with 'pushyd-ctl init'")
        return
    yield from _files(server.state)
    yield from _keys(server.state)
    yield from _certificate(server.state, server.settings.server_name, now)
    yield from _database(server)
    yield from _clock(server, now)
    yield from _ports(server)


def _files(state: Path) -> Iterator[Finding]:
    wrong = False
    for path in [state, *sorted(state.iterdir())]:
        mode = S_IMODE(path.stat().st_mode)
        # The group may look into the directory: the package gives it that, and to the files nothing.
        private = 0o027 if path == state else 0o077
        if path.name not in PUBLIC and mode & private:
            wrong = True
            yield Finding("file rights", f"{path}: others have rights to it ({mode:04o})", f"chmod go= '{path}'")
    if not wrong:
        yield Finding("file rights", f"{state}: nobody else can read it")


def _keys(state: Path) -> Iterator[Finding]:
    readers: dict[str, Callable[[bytes], object]] = {
        "server-rsa.pem": parse_private_key,
        "curve-secret": lambda data: CurveKeyPair.from_secret(data.decode("ascii", "replace").strip()),
        "session-secret": _session_secret,
        "format": _format,
    }
    wrong = False
    for name, read in readers.items():
        path = state / name
        try:
            read(path.read_bytes())
        except FileNotFoundError:
            wrong = True
            yield Finding(
                "keys", f"{path} is not there", "restore it from a backup; else 'pushyd-ctl init' makes another"
            )
        except (OSError, KeyFormatError, ValueError) as error:
            wrong = True
            yield Finding("keys", f"{path}: {error}", "restore it from a backup")
    if not wrong:
        yield Finding("keys", "the server's keys can be read")


def _session_secret(data: bytes) -> None:
    if len(data) != 32:
        raise ValueError(f"expected 32 bytes, got {len(data)}")


def _format(data: bytes) -> None:
    if not data.strip().isdigit() or int(data) > FORMAT:
        raise ValueError(f"expected a number up to {FORMAT}, got {data[:20]!r}: a newer pushyd made it")


def _certificate(state: Path, server_name: str, now: float) -> Iterator[Finding]:
    what, path = "certificate", state / "tls-cert.pem"
    anew = f"replace {path} and tls-key.pem, or remove them (pushyd makes new ones when it starts)"
    try:
        certificate = certificates.parse_certificate(path.read_bytes())
        key = certificates.parse_key((state / "tls-key.pem").read_bytes())
        authority = certificates.parse_certificate((state / "ca.pem").read_bytes())
    except OSError as error:
        yield Finding(what, f"{error.filename}: {error.strerror}", "start pushyd, which makes what is missing")
        return
    except ValueError as error:
        yield Finding(what, f"{path}: {error}", anew)
        return
    end, today = certificate.not_valid_after_utc, datetime.fromtimestamp(now, UTC)
    if end <= today:
        yield Finding(what, f"{path}: ended on {end:%Y-%m-%d}", anew)
    elif end - today < EXPIRES_SOON:
        yield Finding(what, f"{path}: ends on {end:%Y-%m-%d}", anew)
    elif key.public_key() != certificate.public_key():
        yield Finding(what, f"{path}: is not that of tls-key.pem", anew)
    elif certificates.is_ours(certificate) and not certificates.fits(
        certificates.Issued(key=key, certificate=certificate), authority, server_name
    ):
        yield Finding(what, f"{path}: is not for {server_name}", "restart pushyd, which makes a new one")
    else:
        yield Finding(what, f"{path}: good until {end:%Y-%m-%d}")


def _database(server: Server) -> Iterator[Finding]:
    what, url = "database", parse_url(server.settings.database)
    try:
        with server.store():
            pass
        if is_sqlite(url) and (fault := _sqlite_fault(database_path(url))):
            yield Finding(what, fault, "stop pushyd and restore a backup")
            return
    except StoreUnavailable as error:
        yield Finding(what, str(error), "see that it runs, and that database_url is right")
        return
    yield Finding(what, "can be used, and is of this version")


def _sqlite_fault(path: Path) -> str | None:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        said = str(error)
    finally:
        connection.close()
    return None if said == "ok" else f"{path}: {said}"


def _clock(server: Server, now: float) -> Iterator[Finding]:
    what, mend = "clock", "synchronize it, e.g. with chrony"
    newest = max(path.stat().st_mtime for path in server.state.iterdir())
    try:
        with server.store() as store:
            made = store.read(lambda connection: connection.execute(select(func.max(jobs.c.created_at))).scalar())
    except StoreUnavailable:
        made = None
    newest = max(newest, made or 0.0)
    if newest - now > SKEW_SECONDS:
        yield Finding(what, f"it is {newest - now:.0f} s behind what was written here last", mend)
    else:
        yield Finding(what, f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC")


def _ports(server: Server) -> Iterator[Finding]:
    settings = server.settings
    try:
        running = lock_is_held(server.state)
    except StateDirError as error:
        yield Finding("server", str(error), "see that it can be read")
        return
    yield Finding("server", "it is running" if running else "it is not running")
    for name, address, port in _addresses(settings):
        what = f"port {port}"
        if running and not _answers(address, port):
            yield Finding(what, f"the server runs, but nothing listens there ({name})", "see its log; restart it")
        elif not running and (reason := _taken(address, port)):
            yield Finding(what, f"{reason} ({name})", f"stop what listens there ('ss -ltnp'), or change {name}")
        else:
            yield Finding(what, "the server listens" if running else "is free")


def _addresses(settings: Settings) -> Iterator[tuple[str, str, int]]:
    host = settings.zeromq_listen_address.removeprefix("tcp://").strip("[]")
    zeromq = "0.0.0.0" if host == "*" else host  # noqa: S104 - it is what the server would listen on
    yield "command_port", zeromq, settings.command_port
    yield "server_heartbeat_port", zeromq, settings.server_heartbeat_port
    if settings.api_endpoint is None:
        yield "api_port", "0.0.0.0", settings.api_port  # noqa: S104 - see above


def _answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1" if address == "0.0.0.0" else address, port), timeout=3):  # noqa: S104
            return True
    except OSError:
        return False


def _taken(address: str, port: int) -> str | None:
    """Why nobody can listen there, if so."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError as error:
            return error.strerror or str(error)
    return None
