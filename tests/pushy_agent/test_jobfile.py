"""The file that a job brings along."""

import os
import time
from pathlib import Path

import pytest
from attrs import evolve

from pushy_agent.jobfile import JobFiles
from tests.pushy_agent.test_order import BOB


def make(directory: Path, *, expiry: float = 100, now: float | None = None) -> JobFiles:
    return JobFiles(directory, expiry=expiry, now=lambda: time.time() if now is None else now)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_file_for_ourselves(tmp_path: Path) -> None:
    files = make(tmp_path / "state" / "files")
    path = files.write(b"\0content", None)
    assert path.read_bytes() == b"\0content"
    assert path.name.startswith("pushy_file")
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)


def test_a_file_for_another_user_can_be_reached_but_not_found(tmp_path: Path) -> None:
    files = make(tmp_path / "files")
    is_root = os.geteuid() == 0  # only root gives files away
    user = BOB if is_root else evolve(BOB, uid=os.geteuid(), gid=os.getegid())
    path = files.write(b"x", user)
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (user.uid, user.gid, 0o600)
    assert mode(path.parent) == (0o711 if is_root else 0o700)
    files.write(b"x", None)
    assert mode(path.parent) == 0o700


def test_a_link_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "files").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="expected a directory that belongs to the agent"):
        make(tmp_path / "files").write(b"x", None)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_nothing_is_left_of_a_file_that_cannot_be_given_away(tmp_path: Path) -> None:
    with pytest.raises(OverflowError):
        make(tmp_path).write(b"x", evolve(BOB, uid=-2))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        make(tmp_path / "file" / "files").write(b"x", None)


def test_files_are_removed_when_they_have_their_age(tmp_path: Path) -> None:
    path = make(tmp_path).write(b"x", None)
    os.utime(path, (1000, 1000))
    make(tmp_path, now=1099).tidy()
    assert path.exists()
    make(tmp_path, now=1100).tidy()
    assert not path.exists()
    young = make(tmp_path).write(b"x", None)
    make(tmp_path, expiry=0).tidy()
    assert not young.exists()


def test_nothing_else_is_removed_and_no_link_followed(tmp_path: Path) -> None:
    files = tmp_path / "files"
    (files / "pushy_file_directory").mkdir(parents=True)
    target = tmp_path / "target"
    for path in (target, files / "other"):
        path.write_text("x")
    (files / "pushy_file_link").symlink_to(target)
    make(files, expiry=-100).tidy()
    assert len(list(files.iterdir())) == 3
    (tmp_path / "link").symlink_to(files)
    with pytest.raises(NotADirectoryError):
        make(tmp_path / "link").tidy()
    make(tmp_path / "none").tidy()
