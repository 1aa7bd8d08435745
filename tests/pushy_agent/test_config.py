"""Settings, and what is said of those that are none."""

import datetime
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.oid import NameOID

from pushy_agent.config import Config, ConfigError, _Settings, load
from pushy_agent.whitelist import Whitelist
from pushy_protocol.keys import make_rsa_key, private_pem

KEY = make_rsa_key()
URL = 'chef_server_url = "https://push.example:10003/organizations/acme"\n'


def certificate(key: RSAPrivateKey, name: str) -> bytes:
    """A certificate of `name` that it signed itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "client.pem").write_bytes(private_pem(KEY))
    return tmp_path / "agent.toml"


def read(path: Path, text: str, options: dict[str, Any] | None = None) -> Config:
    path.write_text('client_key = "client.pem"\n' + text if "client_key" not in text else text)
    return load(path, options or {}, lambda: "fqdn.example")


def test_defaults(path: Path) -> None:
    config = read(path, URL)
    assert config.server_url == "https://push.example:10003/organizations/acme"
    assert config.organization == "acme"
    assert config.node_name == "fqdn.example"
    assert config.client_key == path.parent / "client.pem"
    assert config.validation_key is None
    assert config.validation_client_name == "acme-validator"
    assert config.verify_peer
    assert config.trusted == ()
    assert (config.state_dir, config.file_dir) == (Path("/var/lib/pushy-agent"), Path("/var/lib/pushy-agent/files"))
    assert (config.file_dir_expiry, config.stop_grace, config.allowed_env) == (86_400, 5, None)
    assert config.sources == (path, path.parent / "whitelist.d")
    assert (config.max_body_size, config.log_level, config.logfile) == (None, "info", None)
    assert config.whitelist.look_up("chef-client")


def test_everything_said(path: Path) -> None:
    certificates = path.parent / "certs"
    certificates.mkdir()
    for name in ("a.crt", "b.pem", "ignored.txt"):
        (certificates / name).write_bytes(certificate(KEY, name))
    (path.parent / "ca.pem").write_bytes(certificate(KEY, "x") + certificate(KEY, "y"))
    config = read(
        path,
        """
        server_url = "http://10.0.0.1/organizations/acme/"
        node_name = "n1"
        validation_key = "val.pem"
        validation_client_name = "me"
        ssl_verify_mode = "verify_none"
        ca_file = "ca.pem"
        trusted_certs_dir = "certs"
        state_dir = "state"
        file_dir = "files"
        file_dir_expiry = 60
        stop_grace = 2.5
        max_body_size = 100000
        log_level = "debug"
        logfile = "/var/log/agent.log"
        allowed_overwritable_env_vars = ["PATH"]
        [whitelist]
        ls = "ls -l"
        """,
    )
    base = path.parent
    assert config.server_url == "http://10.0.0.1/organizations/acme"
    assert (config.validation_key, config.validation_client_name) == (base / "val.pem", "me")
    assert not config.verify_peer
    assert config.trusted == (base / "ca.pem", base / "certs" / "a.crt", base / "certs" / "b.pem")
    assert (config.state_dir, config.file_dir_expiry, config.stop_grace) == (base / "state", 60, 2.5)
    assert (config.file_dir, config.logfile) == (base / "files", Path("/var/log/agent.log"))
    assert (config.max_body_size, config.allowed_env) == (100_000, frozenset({"PATH"}))
    assert config.whitelist.look_up("chef-client") is None


def test_options_go_first(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.pem").write_bytes(private_pem(KEY))
    monkeypatch.chdir(elsewhere)
    options = {
        "chef_server_url": "https://other/organizations/o",
        "node_name": "n2",
        "client_key": "mine.pem",
        "file_dir": "files",
        "max_body_size": 5000,
    }
    config = read(path, URL.replace("chef_", "") + 'node_name = "n1"\nmax_body_size = 4000\n', options)
    assert (config.server_url, config.node_name) == ("https://other/organizations/o", "n2")
    assert (config.client_key, config.file_dir) == (elsewhere / "mine.pem", elsewhere / "files")
    assert config.max_body_size == 5000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "chef_server_url: expected https://HOST[:PORT]/organizations/ORG, got nothing"),
        (URL + "x = 1", "x: unknown key"),
        (URL + "node_name = 1", "node_name: expected a string, got an integer"),
        (URL + 'node_name = "a/b"', "node_name: expected letters, digits and _.:- only, got 'a/b'"),
        (URL + "max_body_size = 1", "max_body_size: expected an integer >= 1024"),
        (URL + 'max_body_size = "1"', "max_body_size: expected an integer, got a string"),
        (URL + 'log_level = "loud"', "log_level: expected one of debug, info, warn, error, critical, got 'loud'"),
        (URL + 'ssl_verify_mode = "no"', "ssl_verify_mode: expected one of verify_peer, verify_none, got 'no'"),
        (URL + "allowed_overwritable_env_vars = [1]", "allowed_overwritable_env_vars[0]: expected a string"),
        (URL + URL.replace("chef_", ""), "server_url: expected either this or chef_server_url, got both"),
        (URL + 'ca_file = "none.pem"', "ca_file: {base}/none.pem: No such file or directory"),
        (URL + 'ca_file = "client.pem"', "ca_file: {base}/client.pem: expected certificates in PEM"),
        (URL + 'trusted_certs_dir = "none"', "trusted_certs_dir: expected a directory, got {base}/none"),
        (URL + 'client_key = "none.pem"', "client_key: expected a key at {base}/none.pem, or a validation_key"),
        (URL + 'client_key = "agent.toml"', "client_key: {base}/agent.toml: expected an unencrypted RSA private key"),
        (
            URL + 'client_key = "none.pem"\nvalidation_key = "v.pem"',
            "validation_key: {base}/v.pem: No such file or directory",
        ),
        (URL + "whitelist = 1", "whitelist: expected a table, got an integer"),
        (URL + "[whitelist]\nx = 1", "whitelist: 'x': expected 'object', got 'int'"),
        (URL + "stop_grace = -1", "stop_grace: expected a number >= 0"),
        ("x = ", "expected TOML: "),
    ],
)
def test_errors_name_file_and_key(path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(path, text)
    assert str(error.value).startswith(f"{path}: " + said.replace("{base}", str(path.parent)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "push.example", "ftp://h/organizations/o", "https://h", "https://h/organizations/", "https://h/o/o",
        "https:///organizations/o", "https://h:port/organizations/o", "https://u@h/organizations/o",
        "https://h/organizations/o/x", "https://h/organizations/O", "https://[/organizations/o",
        "https://h/organizations/o?x",
    ],
)  # fmt: skip
def test_urls_that_are_none(path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="option: chef_server_url: expected https://HOST"):
        read(path, URL, {"chef_server_url": url})


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"agent\.toml: No such file or directory"):
        load(tmp_path / "agent.toml", {}, lambda: "n")


def test_the_sample_is_valid_and_complete(path: Path) -> None:
    sample = Path(__file__).parents[2] / "etc" / "pushy-agent.toml"
    config = load(sample, {"client_key": str(path.parent / "client.pem")}, lambda: "n")
    assert config.organization == "default"
    assert config.whitelist.look_up("chef-client")
    text = sample.read_text()
    assert [key for key in _Settings.__struct_fields__ if key not in text] == []
    # What is commented out must be valid too, but for the paths.
    uncommented = re.sub(r"(?m)^#(?=[a-z_\[]+.* ?=|\[)", "", text)
    settings = msgspec.convert(tomllib.loads(uncommented), _Settings)
    assert settings.allowed_overwritable_env_vars == []
    assert settings.whitelist is not None
    words = Whitelist.parse(settings.whitelist).look_up("chef-client -o recipe[apache]")
    assert words is not None
    assert words.argv == ("chef-client", "-o", "recipe[apache]")


def test_whitelist_directory(path: Path) -> None:
    directory = path.parent / "whitelist.d"
    directory.mkdir()
    (directory / "b.toml").write_text('two = "2"\n')
    (directory / "a.toml").write_text('one = "1"\n')
    (directory / "c.txt").write_text("ignored")
    config = read(path, URL)
    assert [entry.name for entry in config.whitelist.entries] == ["one", "two"]
    assert config.sources == (path, directory, directory / "a.toml", directory / "b.toml")
    config = read(path, URL + '[whitelist]\nthree = "3"\n')
    assert [entry.name for entry in config.whitelist.entries] == ["three", "one", "two"]
    (directory / "c.toml").write_text('three = "3"\n')
    with pytest.raises(ConfigError, match=re.escape(f"'three' is in {path} and again in {directory}/c.toml")):
        read(path, URL + '[whitelist]\nthree = "3"\n')
    (directory / "c.toml").write_text("x = ")
    with pytest.raises(ConfigError, match=re.escape(f"{directory}/c.toml: expected TOML")):
        read(path, URL)
