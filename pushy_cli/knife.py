"""knife's own configuration, for who has one: ``config.rb`` or ``knife.rb``, found where knife finds it.

Plain values are taken; no Ruby is run.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import field, frozen

from pushy_protocol.chef_config import Found, read_chef_config

_NAMES = ("config.rb", "knife.rb")


@frozen(kw_only=True)
class KnifeConfig:
    """What the file sets, by Chef's names.

    :param file: None where there is none
    :param unread: settings that only Ruby knows, and on which line
    """

    file: Path | None = None
    settings: Mapping[str, Found] = field(factory=dict)
    unread: Mapping[str, int] = field(factory=dict)


def find(environment: Mapping[str, str], *, home: Path, cwd: Path) -> Path | None:
    """The file: in `KNIFE_HOME`, in ``.chef`` here or further up, or in ``~/.chef``."""
    return next((path for path in _places(environment, home, cwd) if path.is_file()), None)


def parse(file: Path, data: bytes, environment: Mapping[str, str]) -> KnifeConfig:
    """What a file sets; nothing where it is no text."""
    read = read_chef_config(data.decode(errors="replace"), file=str(file.absolute()), environment=environment)
    return KnifeConfig(file=file, settings=read.settings, unread=read.unread)


def _places(environment: Mapping[str, str], home: Path, cwd: Path) -> Iterator[Path]:
    directories = [Path(environment["KNIFE_HOME"])] if environment.get("KNIFE_HOME") else []
    directories += [directory / ".chef" for directory in (cwd, *cwd.parents)]
    directories.append(home / ".chef")
    for directory in directories:
        yield from (directory / name for name in _NAMES)
