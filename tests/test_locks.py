"""The lock files: what an installation gets is what the tests run with, and nothing that is declared is missing."""

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def locked(name: str) -> dict[str, str]:
    """Version and hashes of each library in a lock file."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return {found[1]: found[2] for found in re.finditer(r"^([a-z0-9-]+)==(.*(?:\n    --hash=.*)*)", text, re.MULTILINE)}


def declared(project: dict[str, Any]) -> set[str]:
    """The names of what an installation, and its build, require."""
    requirements = [*project["dependencies"], *project["optional-dependencies"]["build"]]
    return {re.split(r"[\[<>=]", one)[0].lower() for one in requirements}


def test_an_installation_gets_what_is_tested() -> None:
    everything, installed = locked("requirements.lock"), locked("requirements-install.lock")
    assert installed, "there is something in it"
    assert {name: everything.get(name) for name in installed} == installed


def test_all_that_is_declared_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert declared(project) <= set(locked("requirements-install.lock"))
