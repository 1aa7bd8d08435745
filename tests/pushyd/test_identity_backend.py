"""What a Chef Server as identity needs to begin: errors name the setting. All else is tested with what it composes."""

from pathlib import Path

import pytest
from twisted.internet.task import Clock

from pushy_protocol.keys import make_rsa_key, private_pem
from pushyd.identity_backend import BackendError, make_chef_http, offered_extensions
from pushyd.identity_settings import IdentitySettings
from tests.pushy_agent.test_config import certificate

KEY = make_rsa_key()


@pytest.fixture
def given(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "pushy.pem").write_bytes(private_pem(KEY))
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "ca.crt").write_bytes(certificate(KEY, "chef.example"))
    return {
        "backend": "chef",
        "chef_server_url": "https://chef.example/organizations/acme",
        "client_name": "pushy",
        "client_key": str(tmp_path / "pushy.pem"),
        "trusted_certs_dir": str(tmp_path / "certs"),
    }


def refusal(given: dict[str, str]) -> str:
    with pytest.raises(BackendError) as caught:
        make_chef_http(IdentitySettings(**given), reactor=Clock(), now=lambda: 0.0)  # type: ignore[arg-type]  # strings
    return str(caught.value)


def test_what_is_right(given: dict[str, str]) -> None:
    settings = IdentitySettings(**given)  # type: ignore[arg-type]  # all given are text; others have defaults
    http = make_chef_http(settings, reactor=Clock(), now=lambda: 0.0)
    assert (http.url, http.user) == ("https://chef.example", "pushy")


def test_the_key(given: dict[str, str]) -> None:
    path = Path(given["client_key"])
    path.write_text("none")
    assert refusal(given).startswith(f"identity.client_key: {path}: expected an unencrypted RSA private key")
    path.unlink()
    assert refusal(given) == f"identity.client_key: {path}: No such file or directory"


def test_the_certificates(given: dict[str, str]) -> None:
    directory = Path(given["trusted_certs_dir"])
    (directory / "readme.txt").write_text("none")
    (directory / "b.pem").write_text("none")
    assert refusal(given) == f"identity.trusted_certs_dir: {directory}/b.pem has no certificate that can be read"
    given["trusted_certs_dir"] = str(directory / "gone")
    assert refusal(given) == f"identity.trusted_certs_dir: expected a directory, got {directory}/gone"


def test_agents_report_facts_to_our_own_store_only() -> None:
    local, chef = (set(offered_extensions(IdentitySettings(backend=backend))) for backend in ("local", "chef"))
    assert local - chef == {"facts"}
    assert "resume" in chef
