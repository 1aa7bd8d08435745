"""The state directory: made once, used as it is, made whole after a crash, and never quietly replaced."""

import os
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from pushy_protocol.keys import make_rsa_key, private_pem, public_pem
from pushyd import certificates
from pushyd.certificates import Issued
from pushyd.state_dir import StateDir, StateDirError, lock, open_state_dir

NAME = "push.example"
FILES = {
    "format",
    "session-secret",
    "curve-secret",
    "server-rsa.pem",
    "ca.pem",
    "ca-key.pem",
    "tls-cert.pem",
    "tls-key.pem",
}
KEYS = FILES - {"ca.pem"}


@cache
def made_before() -> TemporaryDirectory[str]:
    """A directory as an earlier start left it; the keys take a while, so it is made once and copied."""
    directory = TemporaryDirectory()
    open_state_dir(Path(directory.name), NAME)
    return directory


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_before().name, tmp_path / "state"))


@pytest.fixture(scope="module", autouse=True)
def _tidy() -> Iterator[None]:
    yield
    made_before().cleanup()
    made_before.cache_clear()


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def refusal(path: Path, name: str = NAME) -> str:
    with pytest.raises(StateDirError) as caught:
        open_state_dir(path, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def certificate(path: Path) -> x509.Certificate:
    return certificates.parse_certificate(path.read_bytes())


def assert_tls_works(path: Path, name: str = NAME) -> None:
    """What is served fits its key, is of the CA that clients are told to trust, and is for the name."""
    served = Issued(
        key=certificates.parse_key((path / "tls-key.pem").read_bytes()), certificate=certificate(path / "tls-cert.pem")
    )
    authority = certificate(path / "ca.pem")
    assert certificates.fits(served, authority, name)
    chain = x509.load_pem_x509_certificates((path / "tls-cert.pem").read_bytes())
    assert chain == [served.certificate, authority]


def secrets_of(state: StateDir) -> tuple[str, str, bytes]:
    """What agents that are connected rely on."""
    return public_pem(state.rsa_key.public_key()), state.curve_keys.public, state.session_secret


# Made


def test_it_is_made_with_everything_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "lib" / "pushyd"
    umask = os.umask(0)
    try:
        open_state_dir(path, NAME)
    finally:
        os.umask(umask)
    assert {file.name for file in path.iterdir()} == FILES
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    modes = {name: stat.S_IMODE((path / name).stat().st_mode) for name in FILES}
    assert modes == dict.fromkeys(KEYS, 0o600) | {"ca.pem": 0o644}
    assert_tls_works(path)


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    open_state_dir(tmp_path, NAME)
    assert {file.name for file in tmp_path.iterdir()} == FILES


def test_two_directories_have_nothing_in_common(made: Path, tmp_path: Path) -> None:
    one, other = contents(made), contents(open_state_dir(tmp_path / "other", NAME).path)
    assert {name for name in FILES if one[name] == other[name]} == {"format"}


def test_a_second_start_changes_no_byte(made: Path) -> None:
    before = contents(made)
    first, second = open_state_dir(made, NAME), open_state_dir(made, NAME)
    assert contents(made) == before
    assert secrets_of(first) == secrets_of(second)


def test_what_it_says_of_itself_tells_no_secret(made: Path) -> None:
    state = open_state_dir(made, NAME)
    said = repr(state)
    assert repr(state.session_secret) not in said
    assert state.curve_keys.secret not in said


@pytest.mark.parametrize("name", [NAME, "PUSH.Example", "127.0.0.1", "::1", "2001:db8::1"])
def test_the_certificate_is_for_the_servers_name_and_this_machine(made: Path, name: str) -> None:
    open_state_dir(made, name)
    for wanted in (name.lower(), "localhost", "127.0.0.1", "::1"):
        assert_tls_works(made, wanted)


def test_a_principals_key_is_made_once(made: Path) -> None:
    state = open_state_dir(made, NAME)
    path, key = state.principal_key("admin")
    assert path == made / "admin.pem"
    assert path.read_bytes() == private_pem(key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert public_pem(state.principal_key("admin")[1].public_key()) == public_pem(key.public_key())


# Another name, and other people's certificates


def test_a_new_name_gets_a_new_certificate_from_the_same_ca(made: Path) -> None:
    before = contents(made)
    open_state_dir(made, "new.example")
    after = contents(made)
    assert {name for name in FILES if before[name] != after[name]} == {"tls-cert.pem", "tls-key.pem"}
    assert_tls_works(made, "new.example")
    assert stat.S_IMODE((made / "tls-key.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize("with_our_ca", [True, False])
def test_an_operators_own_certificate_is_left_alone(made: Path, *, with_our_ca: bool) -> None:
    key, own = operators()
    (made / "tls-key.pem").write_bytes(key)
    (made / "tls-cert.pem").write_bytes(own)
    if not with_our_ca:
        (made / "ca.pem").write_bytes(b"whatever the operator has here")
        (made / "ca-key.pem").unlink()
    before = contents(made)
    for name in (NAME, "new.example"):
        open_state_dir(made, name)
        assert contents(made) == before


def test_the_key_of_the_ca_may_be_kept_elsewhere(made: Path) -> None:
    (made / "ca-key.pem").unlink()
    before = contents(made)
    open_state_dir(made, NAME)
    assert contents(made) == before


# Crashes


@pytest.mark.parametrize("missing", sorted(FILES))
def test_whatever_is_missing_is_made_and_fits_the_rest(made: Path, missing: str) -> None:
    before = contents(made)
    (made / missing).unlink()
    state = open_state_dir(made, NAME)
    assert_tls_works(made)
    made_together = {"ca.pem": {"ca.pem", "ca-key.pem", "tls-cert.pem", "tls-key.pem"}, "ca-key.pem": {"ca-key.pem"}}
    made_together |= {name: {"tls-cert.pem", "tls-key.pem"} for name in ("tls-cert.pem", "tls-key.pem")}
    after = contents(made)
    changed = {name for name in FILES if after.get(name) != before[name]} - {"format"}
    assert changed == made_together.get(missing, {missing}) - {"format"}
    assert secrets_of(open_state_dir(made, NAME)) == secrets_of(state)


def test_a_start_that_was_cut_off_anywhere_is_taken_up(made: Path, tmp_path: Path) -> None:
    """Files are made one after another: whichever of them there were, the next start keeps them and makes the rest."""
    order = ["format", "session-secret", "curve-secret", "ca-key.pem", "ca.pem", "tls-key.pem", "tls-cert.pem"]
    for there in range(len(order)):
        path = tmp_path / f"cut off after {there}"
        path.mkdir()
        for name in order[:there]:
            shutil.copy2(made / name, path)
        shutil.copy2(made / "server-rsa.pem", path)
        open_state_dir(path, NAME)
        assert_tls_works(path)
        kept = set(order[:there]) - {"tls-key.pem"} - ({"ca-key.pem"} if there == order.index("ca.pem") else set())
        assert {name for name in kept if (path / name).read_bytes() != (made / name).read_bytes()} == set()


def test_a_key_that_was_replaced_without_its_certificate_is_mended(made: Path) -> None:
    other = certificates.make_authority("x")
    (made / "tls-key.pem").write_bytes(other.key_pem)
    open_state_dir(made, NAME)
    assert_tls_works(made)


# What cannot be used


@pytest.mark.parametrize("said", ["2", "999\n"])
def test_a_directory_of_a_newer_version_is_refused_and_not_touched(tmp_path: Path, said: str) -> None:
    (tmp_path / "format").write_text(said)
    text = refusal(tmp_path)
    assert text.startswith(f"{tmp_path}: was made by a newer version of pushyd (format {int(said)}, this one knows 1)")
    assert contents(tmp_path) == {"format": said.encode()}


@pytest.mark.parametrize("said", [b"", b"one", b"-1", b"1.5", b"\xff", b"1 1"])
def test_a_format_that_is_no_number_is_refused(made: Path, said: bytes) -> None:
    (made / "format").write_bytes(said)
    assert refusal(made).startswith(f"{made}/format: expected a number, got ")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("session-secret", "expected 32 bytes"),
        ("curve-secret", "expected 40 characters of Z85"),
        ("server-rsa.pem", "expected an unencrypted RSA private key in PEM"),
        ("ca.pem", "expected a certificate in PEM"),
        ("tls-cert.pem", "expected a certificate in PEM"),
        ("tls-key.pem", "expected an unencrypted private key in PEM"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"rubbish", b"\0" * 100])
def test_a_file_that_is_damaged_is_named(made: Path, name: str, expected: str, content: bytes) -> None:
    (made / name).write_bytes(content)
    before = contents(made)
    assert refusal(made).startswith(f"{made / name}: {expected}")
    assert contents(made) == before


def test_a_ca_that_is_damaged_is_named_when_it_is_needed(made: Path) -> None:
    key = (made / "ca-key.pem").read_bytes()
    (made / "ca-key.pem").write_bytes(b"rubbish")
    assert refusal(made, "new.example").startswith(f"{made}/ca-key.pem: expected an unencrypted private key in PEM")
    (made / "ca-key.pem").write_bytes(private_pem(make_rsa_key()))
    assert refusal(made, "new.example").startswith(f"{made}/ca-key.pem, {made}/ca.pem: expected the authority's")
    (made / "ca-key.pem").write_bytes(key)
    open_state_dir(made, "new.example")


def test_a_principals_key_that_is_damaged_is_named(made: Path) -> None:
    (made / "admin.pem").write_bytes(b"rubbish")
    with pytest.raises(StateDirError, match=f"^{made}/admin.pem: expected an unencrypted RSA private key"):
        open_state_dir(made, NAME).principal_key("admin")


def test_what_is_no_directory_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    assert refusal(file) == f"{file}: File exists"
    assert refusal(file / "below") == f"{file}/below: Not a directory"


def test_a_file_that_is_a_directory_is_named(made: Path) -> None:
    (made / "session-secret").unlink()
    (made / "session-secret").mkdir()
    assert refusal(made) == f"{made}/session-secret: Is a directory"


# One at a time


def test_one_server_uses_it(made: Path) -> None:
    held = lock(made)
    with pytest.raises(StateDirError, match=f"^{made}: another pushyd uses this state directory; stop it first$"):
        lock(made)
    os.close(held)
    os.close(lock(made))
    assert stat.S_IMODE((made / "lock").stat().st_mode) == 0o600


@cache
def operators() -> tuple[bytes, bytes]:
    """A key and a certificate of an operator's own CA, which is for another name."""
    key = make_rsa_key()
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme"),
            x509.NameAttribute(NameOID.COMMON_NAME, "push.acme.example"),
        ]
    )
    own = x509.CertificateBuilder(
        subject_name=name,
        issuer_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=datetime(2026, 1, 1, tzinfo=UTC),
        not_valid_after=datetime(2027, 1, 1, tzinfo=UTC),
    ).sign(key, hashes.SHA256())
    return private_pem(key), own.public_bytes(Encoding.PEM)
