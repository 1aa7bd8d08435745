"""Whoever has knife configured needs no settings of ours."""

from pathlib import Path

import pytest

from tests.pushy_cli.test_context import PEM, PROFILE, URL, Place

KNIFE = f"""current_dir = File.dirname(__FILE__)
node_name "knifer"
client_key "#{{current_dir}}/knifer.pem"
chef_server_url "{URL.replace("acme", "knives")}"
ssl_verify_mode :verify_none
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    home, cwd = tmp_path / "home", tmp_path / "repo" / "cookbooks"
    home.mkdir()
    cwd.mkdir(parents=True)
    return Place(home, cwd)


def write(directory: Path, name: str = "knife.rb", text: str = KNIFE) -> Path:
    directory.mkdir(exist_ok=True, parents=True)
    file = directory / name
    file.write_text(text)
    (directory / "knifer.pem").write_text(PEM)
    return file


def test_found_where_knife_finds_it(place: Place, tmp_path: Path) -> None:
    # From the last that is looked at to the first.
    for directory, name, node in (
        (place.home / ".chef", "knife.rb", "a"),
        (place.home / ".chef", "config.rb", "b"),
        (tmp_path / "repo" / ".chef", "knife.rb", "c"),
        (place.cwd / ".chef", "config.rb", "d"),
    ):
        write(directory, name, KNIFE.replace('"knifer"', f'"{node}"'))
        settings = place.load()
        assert settings.client_name == node
        assert settings.server_url == URL.replace("acme", "knives")
        assert settings.key_source == str(directory / "knifer.pem")
        assert not settings.verify_tls
    write(tmp_path / "elsewhere", "knife.rb", KNIFE.replace('"knifer"', '"e"'))
    assert place.load(environment={"KNIFE_HOME": str(tmp_path / "elsewhere")}).client_name == "e"


def test_certificates_beside_it_are_trusted(place: Place) -> None:
    file = write(place.home / ".chef", text=KNIFE.replace(":verify_none", ":verify_peer"))
    trusted = file.parent / "trusted_certs"
    trusted.mkdir()
    (trusted / "chef.crt").write_text("")
    settings = place.load()
    assert settings.verify_tls
    assert settings.trusted == (trusted / "chef.crt",)


def test_who_names_a_server_takes_nothing_of_it(place: Place) -> None:
    place.credentials(PROFILE)
    write(place.cwd / ".chef")
    settings = place.load()
    assert (settings.client_name, settings.server_url, settings.verify_tls) == ("admin", URL, True)
    assert place.load({"profile": "default"}).client_name == "admin"


def test_a_profile_without_a_server_goes_before_what_it_says_itself(place: Place) -> None:
    place.credentials("\n".join(line for line in PROFILE.splitlines() if "url" not in line))
    write(place.home / ".chef")
    settings = place.load()
    assert (settings.client_name, settings.server_url) == ("admin", URL.replace("acme", "knives"))
    assert settings.key_source.endswith("admin.pem")


def test_options_and_variables_go_before(place: Place) -> None:
    write(place.home / ".chef")
    assert place.load({"client_name": "me"}).client_name == "me"
    assert place.load(environment={"PUSHY_CLIENT_NAME": "me"}).client_name == "me"


def test_what_only_ruby_knows_is_named(place: Place) -> None:
    file = write(place.home / ".chef", text=KNIFE.replace('node_name "knifer"', "node_name `whoami`"))
    assert place.refused() == f"{file}:2: node_name is set by Ruby code, and none is run here"
    assert place.load({"client_name": "me"}).client_name == "me"


def test_what_is_wrong_in_it_is_told_with_file_and_line(place: Place) -> None:
    file = write(place.home / ".chef", text=KNIFE.replace(URL.replace("acme", "knives"), "https://chef.example"))
    assert place.refused().startswith(f"{file}:4: chef_server_url: expected https://HOST[:PORT]/organizations/ORG")
    file = write(place.home / ".chef", text=KNIFE.replace("knifer.pem", "none.pem"))
    assert place.refused() == f"{file}:3: client_key: there is no file {file.parent}/none.pem"


def test_without_anything_it_says_where_to_write(place: Place) -> None:
    assert "in the profile [default]" in place.refused()
    (place.home / ".chef").mkdir()
    (place.home / ".chef" / "knife.rb").write_bytes(b"\xff\xfe\x00node_name")
    assert "is not known" in place.refused()


def test_a_file_that_cannot_be_read(place: Place) -> None:
    file = write(place.home / ".chef", text="#" * 1_000_001)
    assert str(file) in place.refused()
