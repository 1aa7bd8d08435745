"""A node that has a Chef client already: its ``client.rb`` says who it is and which server it has.

Plain values are taken, in the agent's own names and with absolute paths; no Ruby is run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

if TYPE_CHECKING:
    from pushy_protocol.chef_config import Found

CLIENT_RB = Path("/etc/chef/client.rb")

_OURS = {"ssl_ca_file": "ca_file"}
_PATHS = {"client_key", "validation_key", "ca_file", "trusted_certs_dir"}
_MAX_BYTES = 1_000_000


class ChefConfigError(Exception):
    """Chef's configuration cannot be read, or leaves to Ruby what has to be known; the text says where."""


@frozen(kw_only=True)
class ChefClient:
    """What Chef's configuration says.

    :param settings: by the agent's names
    :param sources: where each of them stands, for errors
    :param unread: settings that only Ruby knows, and where they stand
    :param files: all that was read
    """

    settings: Mapping[str, str] = field(factory=dict)
    sources: Mapping[str, str] = field(factory=dict)
    unread: Mapping[str, str] = field(factory=dict)
    files: tuple[Path, ...] = ()


def client_for(path: Path, said: Mapping[str, object], client_rb: Path, environment: Mapping[str, str]) -> ChefClient:
    """What Chef's configuration says, where it counts: where the agent's settings name no server, or name it.

    :param path: of the agent's own settings
    :param said: those, and the options
    :param client_rb: where Chef's configuration is, unless `chef_config` says otherwise
    :raise ChefConfigError: it cannot be read, or leaves to Ruby what has to be known
    """
    named = said.get("chef_config")
    names_server = bool(said.keys() & {"chef_server_url", "server_url"})
    if isinstance(named, str):
        file = path.absolute().parent / Path(named).expanduser()
    elif names_server or not client_rb.exists():
        return ChefClient()
    else:
        file = client_rb
    chef = read_client(file, environment)
    if names_server:
        chef = evolve(chef, settings={key: text for key, text in chef.settings.items() if key != "chef_server_url"})
    for key in {"chef_server_url", "node_name", "client_key"} & chef.unread.keys() - said.keys():
        if not (names_server and key == "chef_server_url"):
            raise ChefConfigError(
                f"{chef.unread[key]}: {key}: expected a plain value, for no Ruby is run here; say it in {path}"
            )
    return chef


def read_client(file: Path, environment: Mapping[str, str]) -> ChefClient:
    """What `file` and the files of ``client.d`` beside it say; where they say nothing, what Chef has by default.

    :raise ChefConfigError: one of them cannot be read
    """
    from pushy_protocol.chef_config import read_chef_config  # a megabyte that only such nodes need

    found: dict[str, tuple[Found | None, Path, int]] = {}
    files = (file, *sorted((file.parent / "client.d").glob("*.rb")))
    for part in files:
        config = read_chef_config(_read(part), file=str(part.absolute()), environment=environment)
        found |= {key: (None, part, line) for key, line in config.unread.items()}
        found |= {key: (value, part, value.line) for key, value in config.settings.items()}
    settings: dict[str, str] = {}
    sources: dict[str, str] = {}
    unread: dict[str, str] = {}
    for key, (value, part, line) in found.items():
        name = _OURS.get(key, key)
        if value is None:
            unread[name] = f"{part}:{line}"
            continue
        sources[name] = f"{part}:{line}"
        settings[name] = str(part.absolute().parent / value.text) if name in _PATHS else value.text
    # The key may be there, or be made by us: then chef-client finds it.
    for name, default, must_exist in (
        ("client_key", "client.pem", False),
        ("validation_key", "validation.pem", True),
        ("trusted_certs_dir", "trusted_certs", True),
    ):
        path = file.absolute().parent / default
        if name not in settings and name not in unread and (path.exists() or not must_exist):
            settings[name] = str(path)
            sources[name] = str(file)
    return ChefClient(settings=settings, sources=sources, unread=unread, files=files)


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise ChefConfigError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ChefConfigError(f"{file}: expected UTF-8: {error}") from None
    if len(data) > _MAX_BYTES:
        raise ChefConfigError(f"{file}: expected at most {_MAX_BYTES} bytes")
    return text
