from collections.abc import Mapping
from pathlib import Path

import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st

from pushy_cli.context import Settings, load_settings
from pushy_cli.errors import ConfigurationError
from pushy_protocol.keys import make_rsa_key, private_pem, public_pem

KEY = make_rsa_key()
PEM = private_pem(KEY).decode()
URL = "https://push.example.com:10003/organizations/acme"
PROFILE = f'[default]\nclient_name = "admin"\nclient_key = "admin.pem"\nchef_server_url = "{URL}"\n'


@define
class Place:
    """A home and a working directory."""

    home: Path
    cwd: Path

    def credentials(self, text: str, where: str = ".pushy/credentials") -> Path:
        file = self.home / where
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        (file.parent / "admin.pem").write_text(PEM)
        return file

    def load(self, options: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None) -> Settings:
        return load_settings(options or {}, environment or {}, home=self.home, cwd=self.cwd)

    def refused(self, options: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None) -> str:
        with pytest.raises(ConfigurationError) as caught:
            self.load(options, environment)
        assert caught.value.hint
        assert "\n" not in caught.value.what
        return caught.value.what


@pytest.fixture
def place(tmp_path: Path) -> Place:
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    home.mkdir()
    cwd.mkdir()
    return Place(home, cwd)


@pytest.mark.parametrize("where", [".pushy/credentials", ".chef/credentials"])
def test_a_profile(place: Place, where: str) -> None:
    file = place.credentials(PROFILE, where)
    settings = place.load()
    assert settings.server_url == URL
    assert settings.client_name == "admin"
    assert settings.client_key.private_numbers() == KEY.private_numbers()
    assert settings.key_source == str(file.parent / "admin.pem")
    assert settings.verify_tls
    assert settings.trusted == ()
    assert "client_key" not in repr(settings)


def test_the_first_file_that_has_the_profile_counts(place: Place) -> None:
    place.credentials(PROFILE.replace('admin"\nclient_key', 'ours"\nclient_key'))
    place.credentials(PROFILE + PROFILE.replace("[default]", "[other]"), ".chef/credentials")
    assert place.load().client_name == "ours"
    assert place.load({"profile": "other"}).client_name == "admin"
    assert place.load(environment={"PUSHY_PROFILE": "other"}).client_name == "admin"
    assert place.load({"profile": "default"}, {"PUSHY_PROFILE": "other"}).client_name == "ours"


@pytest.mark.parametrize(
    ("option", "variable", "read"),
    [
        ("client_name", "PUSHY_CLIENT_NAME", lambda settings: settings.client_name),
        ("server_url", "PUSHY_SERVER_URL", lambda settings: settings.server_url.rpartition("/")[2]),
        ("ca_file", "PUSHY_CA_FILE", lambda settings: settings.trusted[0].name),
        ("client_key", "PUSHY_CLIENT_KEY", lambda settings: Path(settings.key_source).name),
    ],
)
def test_an_option_precedes_the_environment_and_that_the_file(
    place: Place, option: str, variable: str, read: object
) -> None:
    assert callable(read)
    texts = {}
    for name in ("file", "variable", "option"):
        path = place.home / ".pushy" / name if name == "file" else place.cwd / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(PEM)
        texts[name] = f"https://host/organizations/{name}" if option == "server_url" else name
    key = {"server_url": "chef_server_url"}.get(option, option)
    lines = [line for line in PROFILE.splitlines() if not line.startswith(key)]
    place.credentials("\n".join([*lines, f'{key} = "{texts["file"]}"']))
    assert read(place.load()) == "file"
    assert read(place.load({}, {variable: texts["variable"]})) == "variable"
    assert read(place.load({option: texts["option"]}, {variable: texts["variable"]})) == "option"
    assert read(place.load({}, {variable: ""})) == "file"


def test_no_file_is_needed_when_all_is_given(place: Place) -> None:
    settings = place.load({"server_url": URL + "/", "client_name": "ci"}, {"PUSHY_CLIENT_KEY": PEM})
    assert (settings.server_url, settings.client_name, settings.key_source) == (URL, "ci", "PUSHY_CLIENT_KEY")


def test_a_key_can_stand_in_the_file_and_others_have_other_names(place: Place) -> None:
    place.credentials(f'[default]\nnode_name = "n"\nserver_url = "{URL}"\nclient_key = """\n{PEM}"""\nknife = {{}}\n')
    settings = place.load()
    assert settings.client_name == "n"
    assert "client_key" in settings.key_source


def test_a_tilde_is_home_and_paths_are_relative_to_where_they_stand(place: Place) -> None:
    for path in (place.home / "a.pem", place.cwd / "b.pem"):
        path.write_text(PEM)
    place.credentials(PROFILE.replace("admin.pem", "~/a.pem"))
    assert place.load().key_source == str(place.home / "a.pem")
    assert place.load({"client_key": "b.pem"}).key_source == str(place.cwd / "b.pem")
    assert place.load({"credentials": "~/.pushy/credentials"}).client_name == "admin"


def test_trusted_certificates(place: Place) -> None:
    file = place.credentials(PROFILE + 'ca_file = "ca.pem"\n')
    beside = file.parent / "trusted_certs"
    beside.mkdir()
    for path in (file.parent / "ca.pem", beside / "b.crt", beside / "a.pem", beside / "notes.txt"):
        path.write_text("")
    assert [path.name for path in place.load().trusted] == ["ca.pem", "a.pem", "b.crt"]
    other = place.home / "certs"
    other.mkdir()
    (other / "c.crt").write_text("")
    place.credentials(PROFILE + 'trusted_certs_dir = "~/certs"\n')
    # What the user trusted with `config fetch-ca` is there too.
    assert [path.name for path in place.load().trusted] == ["c.crt", "a.pem", "b.crt"]


@pytest.mark.parametrize(("mode", "verify"), [("verify_peer", True), (":verify_none", False), ("verify_none", False)])
def test_ssl_verify_mode(place: Place, mode: str, verify: bool) -> None:
    place.credentials(f'{PROFILE}ssl_verify_mode = "{mode}"\n')
    assert place.load().verify_tls is verify


def test_what_is_missing_is_named_with_all_the_places(place: Place) -> None:
    what = place.refused()
    assert "chef_server_url" in what
    assert f"[default] of {place.home}/.pushy/credentials or {place.home}/.chef/credentials" in what
    place.credentials(f'[default]\nchef_server_url = "{URL}"\n')
    assert "client_name" in place.refused()
    place.credentials(f'[default]\nchef_server_url = "{URL}"\nclient_name = "a"\n')
    assert "client_key" in place.refused()


def test_a_profile_that_is_not_there(place: Place) -> None:
    assert "There is no profile [prod]" in place.refused({"profile": "prod"})
    place.credentials(PROFILE)
    with pytest.raises(ConfigurationError, match=r"no profile \[prod\]") as caught:
        place.load({"profile": "prod"})
    assert "[default] of" in caught.value.hint
    assert f"{place.cwd}/nowhere" in place.refused({"credentials": "nowhere"})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("client_name = 3", "[default] client_name: expected a string, got 3"),
        ('client_name = ""', "[default] client_name: expected a string, got ''"),
        ('client_key = "nowhere.pem"', "[default] client_key: there is no file"),
        ('client_key = "."', "cannot be read: Is a directory"),
        ('client_key = "bad.pem"', "[default] client_key: {dir}/bad.pem: expected an unencrypted RSA private key"),
        ('client_key = "public.pem"', "expected an unencrypted RSA private key"),
        ('client_key = "large.pem"', "has more than 1000000 bytes"),
        ('client_key = "-----BEGIN nothing"', "[default] client_key: expected an unencrypted RSA private key"),
        ('chef_server_url = "push.example.com"', "[default] chef_server_url: expected https://HOST"),
        ('ca_file = "nowhere.pem"', "[default] ca_file: there is no file {dir}/nowhere.pem"),
        ('trusted_certs_dir = "nowhere"', "[default] trusted_certs_dir: there is no directory {dir}/nowhere"),
        ('ssl_verify_mode = "maybe"', "expected verify_peer or verify_none, got 'maybe'"),
        ("client_name = ", "expected TOML"),
    ],
)
def test_a_wrong_setting_is_named_with_file_and_key(place: Place, line: str, said: str) -> None:
    key = line.partition(" ")[0]
    kept = [kept for kept in PROFILE.splitlines() if not kept.startswith(key)]
    file = place.credentials("\n".join([*kept, line]))
    (file.parent / "bad.pem").write_text("-----BEGIN RSA PRIVATE KEY-----\n")
    (file.parent / "public.pem").write_text(public_pem(KEY.public_key()))
    (file.parent / "large.pem").write_bytes(bytes(1_000_001))
    what = place.refused()
    assert str(file) in what
    assert said.format(dir=file.parent) in what


@pytest.mark.parametrize(
    "url",
    [
        "https://host", "https://host/organizations/", "https://host/organizations/a/b", "ftp://host/organizations/a",
        "https:///organizations/a", "https://me:secret@host/organizations/a", "https://host:x/organizations/a",
        "https://host:99999/organizations/a", "https://host/organizations/a?b", "https://host/organizations/a#b",
        "https://host/organizations/a b", "https://h\u00f6st/organizations/a", "https://[::1/organizations/a", "",
    ],
)  # fmt: skip
def test_a_url_that_is_none(place: Place, url: str) -> None:
    place.credentials(PROFILE)
    assert "--server-url: expected https://HOST[:PORT]/organizations/ORG" in place.refused({"server_url": url})


@pytest.mark.parametrize("url", ["http://[::1]:80/organizations/a", "https://h/base/organizations/a-b_c"])
def test_a_url_that_is_one(place: Place, url: str) -> None:
    place.credentials(PROFILE)
    assert place.load({"server_url": url}).server_url == url


@given(document=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_file_is_refused_kindly_or_ignored(tmp_path_factory: pytest.TempPathFactory, document: bytes) -> None:
    home = tmp_path_factory.getbasetemp() / "any"
    (home / ".pushy").mkdir(parents=True, exist_ok=True)
    (home / ".pushy/credentials").write_bytes(document)
    with pytest.raises(ConfigurationError):
        load_settings({}, {}, home=home, cwd=home)
