"""``pushyd-ctl``, command by command, over real state directories and databases."""

import os
import socket
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred

from pushy_protocol.keys import parse_private_key, public_pem
from pushyd.ctl.context import open_server
from pushyd.ctl.main import cli
from pushyd.state_dir import lock
from pushyd.store.direct import DirectStore, finish
from tests import postgres
from tests.pushyd.identity.keys import pem_of


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory, made once and copied for each test."""
    path = tmp_path_factory.mktemp("ctl") / "state"
    run_on(path, "init")
    return path


@pytest.fixture
def state(made: Path, tmp_path: Path) -> Path:
    target = tmp_path / "state"
    target.mkdir(mode=0o700)
    for path in made.iterdir():
        copy = target / path.name
        copy.write_bytes(path.read_bytes())
        copy.chmod(path.stat().st_mode & 0o777)
    return target


def settings_of(state: Path) -> list[str]:
    config = state.with_suffix(".toml")
    if not config.exists():
        ports = free_ports(3)
        config.write_text(
            f'server_name = "push.example.com"\nstate_dir = "{state}"\nzeromq_listen_address = "tcp://127.0.0.1"\n'
            f"api_port = {ports[0]}\ncommand_port = {ports[1]}\nserver_heartbeat_port = {ports[2]}\n"
        )
    return ["--config", str(config)]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def attempt(state: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*settings_of(state), *arguments])


def run_on(state: Path, *arguments: str) -> list[str]:
    """What a command prints that does what it should."""
    result = attempt(state, *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output.splitlines()


def refusal(state: Path, *arguments: str) -> str:
    """The one line in which a command says why it does not."""
    result = attempt(state, *arguments)
    assert result.exit_code != 0
    assert isinstance(result.exception, SystemExit), result.exception
    *_, line = result.output.splitlines()
    assert line.startswith("Error: ")
    if result.exit_code == 1:
        assert result.output.count("\n") == 1, result.output
    return line.removeprefix("Error: ")


@pytest.fixture
def store(state: Path) -> Iterator[DirectStore]:
    """What the running server would read."""
    store = DirectStore(f"sqlite:///{state}/pushyd.sqlite")
    store.open()
    yield store
    store.close()


def test_init_makes_what_a_server_needs(made: Path) -> None:
    assert made.stat().st_mode & 0o777 == 0o700
    assert run_on(made, "org", "list") == ["default"]
    assert run_on(made, "user", "show", "admin") == [
        "name: admin",
        "keys: default",
        "organization: default (groups: admins)",
    ]
    assert run_on(made, "client", "list") == ["default-validator"]


def test_init_again_keeps_what_is_there(state: Path) -> None:
    before = {path.name: path.read_bytes() for path in state.glob("*.pem")}
    (first, *_) = run_on(state, "init")
    assert first == f"There is organization default in {state}."
    assert {path.name: path.read_bytes() for path in state.glob("*.pem")} == before


@pytest.mark.parametrize("kind", ["user", "client"])
def test_a_principal_from_its_making_to_its_end(state: Path, store: DirectStore, tmp_path: Path, kind: str) -> None:
    organization = None if kind == "user" else "default"
    generation = finish(store.identity_generation())
    assert run_on(state, kind, "create", "web1") == ["The private key of web1 is in web1.pem."]
    file = tmp_path / "web1.pem"
    assert file.stat().st_mode & 0o777 == 0o600
    public = public_pem(parse_private_key(file.read_bytes()).public_key())
    assert finish(store.keys(organization, "web1")) == {"default": public}
    assert "web1" in run_on(state, kind, "list")
    assert "organization: default" in run_on(state, kind, "show", "web1")
    run_on(state, kind, "reregister", "web1", "--file", "new.pem")
    renewed = public_pem(parse_private_key((tmp_path / "new.pem").read_bytes()).public_key())
    assert finish(store.keys(organization, "web1")) == {"default": renewed}
    run_on(state, kind, "delete", "web1")
    assert finish(store.keys(organization, "web1")) is None
    assert finish(store.identity_generation()) > generation, "the running server must notice"


@pytest.mark.parametrize("kind", ["user", "client"])
def test_a_key_that_is_there_already(state: Path, store: DirectStore, tmp_path: Path, kind: str) -> None:
    (tmp_path / "own.pem").write_text(pem_of("web1"))
    assert run_on(state, kind, "create", "web1", "--public-key", "own.pem") == []
    assert finish(store.keys(None if kind == "user" else "default", "web1")) == {"default": pem_of("web1")}
    assert not (tmp_path / "web1.pem").exists()
    (tmp_path / "own.pem").write_text("nonsense")
    assert "expected an RSA public key in PEM" in refusal(state, kind, "create", "web2", "--public-key", "own.pem")


def test_no_file_is_overwritten_nor_left_behind(state: Path, tmp_path: Path) -> None:
    (tmp_path / "web1.pem").write_text("precious")
    assert "web1.pem: File exists" in refusal(state, "client", "create", "web1")
    assert (tmp_path / "web1.pem").read_text() == "precious"
    assert run_on(state, "client", "list") == ["default-validator"]
    assert refusal(state, "client", "create", "default-validator") == (
        "there is one of that name already; nothing was changed"
    )
    assert not (tmp_path / "default-validator.pem").exists()


def test_a_client_that_is_deleted_may_not_connect_again(state: Path) -> None:
    run_on(state, "client", "create", "web1")
    with closing(sqlite3.connect(state / "pushyd.sqlite")) as connection, connection:
        connection.execute("INSERT INTO registrations VALUES ('default', 'web1', 'key', x'00', '2.0')")
    run_on(state, "client", "delete", "web1")
    with closing(sqlite3.connect(state / "pushyd.sqlite")) as connection:
        assert connection.execute("SELECT * FROM registrations").fetchall() == []


def test_users_belong_to_organizations(state: Path, tmp_path: Path) -> None:
    assert run_on(state, "org", "create", "acme", "--full-name", "A Company", "--admin", "admin") == [
        "The private key of acme-validator is in acme-validator.pem."
    ]
    assert run_on(state, "org", "show", "acme")[:2] == ["name: acme", "full name: A Company"]
    assert run_on(state, "group", "show", "admins", "-o", "acme") == ["user admin"]
    run_on(state, "user", "create", "rita", "--admin")
    assert run_on(state, "group", "show", "admins") == ["user admin", "user rita"]
    run_on(state, "user", "add", "rita", "-o", "acme")
    assert run_on(state, "user", "list", "-o", "acme") == ["admin", "rita"]
    run_on(state, "user", "remove", "rita", "-o", "acme")
    assert run_on(state, "user", "list", "-o", "acme") == ["admin"]
    assert run_on(state, "user", "list") == ["admin", "rita"]


def test_an_organization_is_deleted_with_its_jobs_once_they_have_ended(state: Path) -> None:
    run_on(state, "org", "create", "acme")
    with closing(sqlite3.connect(state / "pushyd.sqlite")) as connection, connection:
        connection.execute(
            "INSERT INTO jobs (id, organization, status, created_at, updated_at, created_by, quorum, run_timeout,"
            " voting_timeout, node_count, capture, aborting, command_digest, command)"
            " VALUES ('id', 'acme', 'running', 1, 1, 'me', 1, 1, 1, 1, false, false, 0, 'true')"
        )
    assert "abort them first" in refusal(state, "org", "delete", "acme", "--yes")
    with closing(sqlite3.connect(state / "pushyd.sqlite")) as connection, connection:
        connection.execute("UPDATE jobs SET status = 'complete'")
    assert "Aborted" in attempt(state, "org", "delete", "acme").output, "nobody said yes"
    assert run_on(state, "org", "list") == ["default", "acme"]
    run_on(state, "org", "delete", "acme", "--yes")
    assert run_on(state, "org", "list") == ["default"]
    with closing(sqlite3.connect(state / "pushyd.sqlite")) as connection:
        assert connection.execute("SELECT organization FROM jobs").fetchall() == [(None,)]


def test_the_organization_that_the_server_begins_with_stays(state: Path) -> None:
    assert "begins with" in refusal(state, "org", "delete", "default", "--yes")
    assert run_on(state, "org", "list") == ["default"]


def with_chef(state: Path) -> None:
    """Let the settings name a Chef Server."""
    settings_of(state)
    with state.with_suffix(".toml").open("a") as config:
        config.write(
            '\n[identity]\nbackend = "chef"\nchef_server_url = "https://chef.example"\nclient_name = "pushy"\n'
            'client_key = "/none.pem"\n'
        )


@pytest.mark.parametrize(
    "arguments",
    [("user", "list"), ("client", "show", "x"), ("group", "create", "g"), ("org", "create", "o")],
    ids=" ".join,
)
def test_with_a_chef_server_identities_are_there(state: Path, arguments: tuple[str, ...]) -> None:
    with_chef(state)
    text = refusal(state, *arguments)
    assert "users, clients and groups are on the Chef Server https://chef.example" in text
    assert "change them there, with knife or chef-server-ctl" in text


def test_with_a_chef_server_organizations_are_those_whose_jobs_are_kept(state: Path) -> None:
    with_chef(state)
    run_on(state, "org", "adopt", "default", "0123456789abcdef")
    assert "guid: 0123456789abcdef" in run_on(state, "org", "show", "default")
    assert "organization 'nowhere'" in refusal(state, "org", "adopt", "nowhere", "1")
    assert "organization default: its users and clients are on the Chef Server" in run_on(state, "status")
    run_on(state, "org", "delete", "default", "--yes")
    assert run_on(state, "org", "list") == []


def test_with_a_chef_server_nobody_is_made(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with_chef(state)
    (line,) = run_on(state, "init")
    assert line == f"{state} is ready; who there is, is on the Chef Server. Try: pushyd-ctl check"
    assert run_on(state, "org", "list") == []
    assert not list(state.glob("admin*"))


def test_groups(state: Path) -> None:
    run_on(state, "group", "create", "pushy_job_writers")
    assert run_on(state, "group", "list") == ["admins", "pushy_job_writers"]
    members = (("user", "admin"), ("client", "default-validator"), ("group", "admins"))
    for kind, member in members:
        run_on(state, "group", "add", "pushy_job_writers", kind, member)
        run_on(state, "group", "add", "pushy_job_writers", kind, member)
    assert run_on(state, "group", "show", "pushy_job_writers") == [f"{kind} {member}" for kind, member in members]
    run_on(state, "group", "remove", "pushy_job_writers", "user", "admin")
    assert run_on(state, "group", "show", "pushy_job_writers") == ["client default-validator", "group admins"]
    run_on(state, "group", "delete", "pushy_job_writers")
    assert run_on(state, "group", "list") == ["admins"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["user", "show", "nobody"], "user 'nobody': there is none; nothing was changed"),
        (["user", "delete", "nobody"], "user 'nobody': there is none; nothing was changed"),
        (["user", "reregister", "nobody"], "user 'nobody': there is none; nothing was changed"),
        (["client", "show", "nobody"], "client 'nobody': there is none; nothing was changed"),
        (["client", "delete", "nobody"], "client 'nobody': there is none; nothing was changed"),
        (["client", "reregister", "nobody"], "client 'nobody': there is none; nothing was changed"),
        (["org", "delete", "nowhere", "--yes"], "organization 'nowhere': there is none; nothing was changed"),
        (["org", "show", "nowhere"], "organization 'nowhere': there is none; nothing was changed"),
        (["org", "create", "acme", "--admin", "nobody"], "user 'nobody': there is none; nothing was changed"),
        (["org", "create", "default"], "there is one of that name already; nothing was changed"),
        (["group", "show", "none"], "group 'none': there is none; nothing was changed"),
        (["group", "add", "admins", "user", "nobody"], "user 'nobody': there is none; nothing was changed"),
        (["group", "add", "none", "user", "admin"], "group 'none': there is none; nothing was changed"),
        (["group", "remove", "none", "user", "admin"], "group 'none': there is none; nothing was changed"),
        (
            ["client", "create", "../etc"],
            "Invalid value for 'NAME': '../etc': expected 1 to 255 letters, digits and _ . : -",
        ),
        (
            ["org", "create", "Acme"],
            "Invalid value for 'NAME': 'Acme': expected lower-case letters, digits, _ and -",
        ),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(state: Path, tmp_path: Path, arguments: list[str], text: str) -> None:
    assert refusal(state, *arguments) == text
    assert list(tmp_path.glob("*.pem")) == []


def test_before_there_is_a_server(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert "cannot be used" in refusal(nowhere, "user", "list")
    assert "WRONG  state directory" in attempt(nowhere, "check").output
    nowhere.mkdir()
    (nowhere / "pushyd.sqlite").touch()
    assert refusal(nowhere, "user", "list") == ("the database is empty; make what is in it with 'pushyd-ctl init'")


def test_a_wrong_setting(tmp_path: Path) -> None:
    config = tmp_path / "state.toml"
    config.write_text("api_prot = 1")
    assert refusal(tmp_path / "state", "user", "list") == f"{config}: api_prot: there is no such setting"


def test_nothing_is_done_as_another_user(state: Path) -> None:
    """Files that root makes, the server could not write."""
    with pytest.raises(click.ClickException, match=r"belongs to the user with id \d+; run this as that user"):
        open_server(None, {"state_dir": str(state)}, user=os.geteuid() + 1)


def test_status(state: Path) -> None:
    assert run_on(state, "status") == [
        f"state directory: {state}",
        "server: not running",
        "organization default: 1 users, 1 clients",
        "jobs that have not ended: 0",
    ]
    held = lock(state)
    assert "server: running" in run_on(state, "status")
    os.close(held)


def test_migrate(state: Path) -> None:
    (said,) = run_on(state, "migrate")
    assert said.startswith("The schema is of version 0")
    held = lock(state)
    assert "another pushyd uses this state directory" in refusal(state, "migrate")
    os.close(held)


def test_a_database_of_another_version(state: Path) -> None:
    with closing(sqlite3.connect(state / "pushyd.sqlite")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    assert "schema version 0000, expected" in refusal(state, "user", "list")


class Check:
    """One finding at a time is made wrong."""

    def findings(self, state: Path, *, wrong: int) -> str:
        result = attempt(state, "check")
        assert result.exit_code == (1 if wrong else 0), result.output
        assert result.output.count("WRONG") == wrong, result.output
        assert result.output.count("to mend it: ") == wrong
        return result.output


class TestCheck(Check):
    def test_all_is_well(self, state: Path) -> None:
        found = self.findings(state, wrong=0)
        for what in ("file rights", "keys", "certificate", "database", "clock", "server", "port "):
            assert f"ok     {what}" in found

    def test_file_rights(self, state: Path) -> None:
        (state / "curve-secret").chmod(0o644)
        found = self.findings(state, wrong=1)
        assert f"{state}/curve-secret: others have rights to it (0644)" in found
        assert f"chmod go= '{state}/curve-secret'" in found

    def test_the_directorys_group_may_look_into_it(self, state: Path) -> None:
        state.chmod(0o750)
        self.findings(state, wrong=0)
        for mode in (0o770, 0o751):
            state.chmod(mode)
            assert f"{state}: others have rights to it ({mode:04o})" in self.findings(state, wrong=1)

    @pytest.mark.parametrize("name", ["server-rsa.pem", "curve-secret", "session-secret", "format"])
    def test_keys(self, state: Path, name: str) -> None:
        (state / name).write_bytes(b"nonsense")
        assert f"WRONG  keys: {state}/{name}: " in self.findings(state, wrong=1)
        (state / name).unlink()
        assert f"WRONG  keys: {state}/{name} is not there" in self.findings(state, wrong=1)

    def test_a_certificate_that_ends(self, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        end = datetime.now(UTC) + timedelta(days=3650)
        for days, text in ((-10, "ends on"), (10, "ended on")):
            then = (end + timedelta(days=days)).timestamp()
            monkeypatch.setattr("pushyd.ctl.main.time.time", lambda then=then: then)
            assert f"tls-cert.pem: {text}" in self.findings(state, wrong=1)

    def test_a_certificate_for_another_name(self, state: Path) -> None:
        config = Path(settings_of(state)[1])
        config.write_text(config.read_text().replace("push.example.com", "other.example.com"))
        assert "tls-cert.pem: is not for other.example.com" in self.findings(state, wrong=1)

    def test_a_certificate_without_its_key(self, state: Path) -> None:
        (state / "tls-key.pem").write_bytes((state / "ca-key.pem").read_bytes())
        assert "is not that of tls-key.pem" in self.findings(state, wrong=1)
        (state / "tls-key.pem").unlink()
        assert "tls-key.pem: No such file" in self.findings(state, wrong=1)
        (state / "tls-cert.pem").write_text("nonsense")
        (state / "tls-key.pem").touch(0o600)
        assert "expected a certificate in PEM" in self.findings(state, wrong=1)

    def test_a_damaged_database(self, state: Path) -> None:
        (state / "pushyd.sqlite").write_bytes(b"nonsense" * 1000)
        assert "WRONG  database: the database cannot be used: file is not a database" in self.findings(state, wrong=1)

    def test_a_clock_that_went_back(self, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        earlier = datetime.now(UTC).timestamp() - 3000
        monkeypatch.setattr("pushyd.ctl.main.time.time", lambda: earlier)
        assert "s behind what was written here last" in self.findings(state, wrong=1)

    def test_a_port_that_another_program_has(self, state: Path) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            config = Path(settings_of(state)[1])
            lines = [line for line in config.read_text().splitlines() if not line.startswith("command_port")]
            config.write_text("\n".join([*lines, f"command_port = {port}"]))
            found = self.findings(state, wrong=1)
        assert f"WRONG  port {port}: Address already in use (command_port)" in found

    def test_a_server_that_does_not_listen(self, state: Path) -> None:
        held = lock(state)
        found = self.findings(state, wrong=3)
        os.close(held)
        assert "the server runs, but nothing listens there (api_port)" in found


class TestBackup:
    def test_it_is_a_state_directory_that_works(self, state: Path, tmp_path: Path) -> None:
        run_on(state, "client", "create", "web1")
        with closing(sqlite3.connect(state / "pushyd.sqlite")) as writing:  # beside a server that is writing
            writing.execute("BEGIN IMMEDIATE")
            writing.execute("DELETE FROM clients")
            run_on(state, "backup", "all.tar")
            writing.rollback()
        assert (tmp_path / "all.tar").stat().st_mode & 0o777 == 0o600
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
        restored = tmp_path / "restored"
        restored.mkdir(mode=0o700)
        with tarfile.open(tmp_path / "all.tar") as archive:
            assert {member.mode & 0o077 for member in archive if member.name not in ("ca.pem", "tls-cert.pem")} == {0}
            archive.extractall(restored, filter="data")
        assert run_on(restored, "client", "list") == ["default-validator", "web1"]
        assert "WRONG" not in attempt(restored, "check").output
        assert (restored / "curve-secret").read_bytes() == (state / "curve-secret").read_bytes()
        assert not (restored / "lock").exists()

    def test_nothing_is_overwritten(self, state: Path, tmp_path: Path) -> None:
        (tmp_path / "all.tar").write_text("precious")
        assert "all.tar" in refusal(state, "backup", "all.tar")
        assert (tmp_path / "all.tar").read_text() == "precious"

    def test_postgresql_is_dumped(
        self, state: Path, tmp_path: Path, postgres_server: postgres.Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = postgres_server.create_database()
        monkeypatch.setenv("PATH", str(postgres_server._bin), prepend=os.pathsep)
        run_on(state, "--database-url", url, "init")
        run_on(state, "--database-url", url, "backup", "all.tar")
        with tarfile.open(tmp_path / "all.tar") as archive:
            dump = archive.extractfile("pushyd.pgdump")
            assert dump is not None
            assert dump.read(5) == b"PGDMP"
            assert "pushyd.sqlite" not in archive.getnames()
        monkeypatch.setenv("PATH", "")
        assert "pg_dump is not on the PATH" in refusal(state, "--database-url", url, "backup", "more.tar")


async def _waits() -> None:
    await Deferred()


def test_a_coroutine_that_waits_is_a_fault() -> None:
    with pytest.raises(RuntimeError, match="there is no reactor"):
        finish(_waits())
