"""What is kept of a channel, against all that was written to it."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushy_agent import kept
from pushy_agent.kept import Kept, Quota
from pushy_agent.output import missing_line

FREE = 2**40


def quota(limit: int = FREE, free: int = FREE) -> Quota:
    return Quota(limit, lambda: free, reserve=0)


def whole(channel: Kept, step: int = 7) -> bytes:
    """The kept stream, read in small pieces."""
    return b"".join(channel.read(offset, step) for offset in range(0, channel.size, step))


def text(output: bytes, limit: int) -> bytes:
    """What is to be kept of an output."""
    head, tail = limit - limit // 2, limit // 2
    if len(output) <= limit:
        return output
    line = missing_line(len(output) - limit, after=output[:head][-1:])
    return output[:head] + line + output[len(output) - tail :]


def written(directory: Path, pieces: list[bytes], limit: int) -> Kept:
    channel = Kept(directory, "stdout", limit, quota())
    for piece in pieces:
        channel.append(piece)
    return channel


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_FILE_BYTES", 5)


pieces_and_limit = {"pieces": st.lists(st.binary(max_size=50)), "limit": st.integers(0, 100)}


@given(**pieces_and_limit)
def test_head_line_and_tail(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], limit: int) -> None:
    output = b"".join(pieces)
    channel = written(tmp_path_factory.mktemp("kept"), pieces, limit)
    running = channel.size
    assert output.startswith(whole(channel))
    channel.finish()
    # What was readable while it ran has not changed.
    assert whole(channel)[:running] == output[:running]
    assert whole(channel) == text(output, limit)
    assert channel.dropped == max(0, len(output) - limit)
    assert channel.read(channel.size, 10) == b""


@given(**pieces_and_limit)
def test_a_successor_keeps_the_same(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], limit: int) -> None:
    directory = tmp_path_factory.mktemp("kept")
    written(directory, pieces, limit)
    shared = quota()
    channel = Kept(directory, "stdout", limit, shared)
    channel.finish()
    if limit > 1:  # of no tail at all it is not known how much was left out
        assert whole(channel) == text(b"".join(pieces), limit)
    assert shared.used == sum(path.stat().st_size for path in directory.iterdir())
    channel.remove()
    assert shared.used == 0
    assert list(directory.iterdir()) == []


@given(**pieces_and_limit, room=st.integers(0, 120))
def test_a_disk_that_is_full(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], limit: int, room: int
) -> None:
    output = b"".join(pieces)
    channel = Kept(tmp_path_factory.mktemp("kept"), "stdout", limit, quota(limit=room))
    for piece in pieces:
        channel.append(piece)
    channel.finish()
    stream = whole(channel)
    if channel.trouble is None:
        assert stream == text(output, limit)
        return
    assert "reached" in channel.trouble
    assert channel.dropped > 0 or stream == output
    if channel.dropped:
        line = missing_line(channel.dropped, after=b"", why=channel.trouble)
        head, _, tail = stream.partition(line)
        assert output.startswith(head) or (head.endswith(b"\n") and output.startswith(head[:-1]))
        assert output.endswith(tail)
        assert len(head) + len(tail) <= limit + 1
        assert len(head.removesuffix(b"\n")) + channel.dropped + len(tail) in {len(output), len(output) - 1}


def test_files_on_disk_are_private_and_bounded(tmp_path: Path) -> None:
    directory = tmp_path / "job"
    channel = written(directory, [os.urandom(10) for _ in range(1000)], 100)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    assert sum(path.stat().st_size for path in directory.iterdir()) <= 50 + 2 * 50
    channel.sync()


def test_no_file_where_nothing_is_written(tmp_path: Path) -> None:
    channel = written(tmp_path / "job", [], 100)
    channel.finish()
    assert (channel.size, channel.dropped) == (0, 0)
    assert not (tmp_path / "job").exists()


def test_a_file_that_is_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"mine")
    (tmp_path / "stdout.0").symlink_to(tmp_path / "elsewhere")
    channel = Kept(tmp_path, "stdout", 100, quota())
    channel.append(b"output")
    channel.finish()
    assert channel.trouble == "File exists"
    assert (tmp_path / "elsewhere").read_bytes() == b"mine"
    assert whole(channel) == b"output"


def test_what_a_loss_of_power_left_is_kept_with_a_line_for_the_rest(tmp_path: Path) -> None:
    for start, data in ((0, b"ab"), (6, b"lost"), (12, b"the "), (16, b"end")):
        (tmp_path / f"stdout.{start}").write_bytes(data)
    channel = Kept(tmp_path, "stdout", 12, quota())
    channel.finish()
    assert whole(channel) == b"ab\n[... 11 bytes left out ...]\nhe end"
    assert channel.dropped == 11


def test_a_reserve_is_left_free(tmp_path: Path) -> None:
    free = 100
    channel = Kept(tmp_path, "stdout", 1000, Quota(FREE, lambda: free, reserve=60))
    channel.append(b"x" * 40)
    channel.append(b"x" * 41)
    assert channel.trouble == "No space left on device"
    channel.finish()
    assert channel.dropped == 0  # it fits into memory
