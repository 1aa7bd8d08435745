from hypothesis import given
from hypothesis import strategies as st

from pushy_cli.lines import MAX_LINE, Line, Lines


def texts(lines: Lines, *pieces: tuple[int, bytes]) -> list[bytes | None]:
    return [line.data for offset, data in pieces for line in lines.take("a", "stdout", offset, data)]


def test_only_whole_lines_come() -> None:
    lines = Lines()
    assert texts(lines, (0, b"one\ntw")) == [b"one"]
    assert texts(lines, (6, b"o\n\nthree")) == [b"two", b""]
    assert (lines.end("b")) == []
    assert (lines.end("a")) == [Line("a", "stdout", b"three")]
    assert (lines.end()) == []
    assert texts(lines, (14, b" more\n")) == [b" more"]


def test_streams_do_not_mix() -> None:
    lines = Lines()
    assert (lines.take("a", "stdout", 0, b"x")) == []
    assert (lines.take("a", "stderr", 0, b"y")) == []
    assert (lines.take("b", "stdout", 0, b"z\n")) == [Line("b", "stdout", b"z")]
    assert {(line.channel, line.data) for line in lines.end("a")} == {("stdout", b"x"), ("stderr", b"y")}


def test_what_is_missing_is_told_once() -> None:
    lines = Lines()
    assert (lines.take("a", "stdout", 0, b"half")) == []
    assert (lines.take("a", "stdout", 10, b"x\n")) == [
        Line("a", "stdout", b"half"),
        Line("a", "stdout", None, missing=6),
        Line("a", "stdout", b"x"),
    ]


def test_it_begins_where_it_is_told() -> None:
    assert texts(Lines({("a", "stdout"): 3}), (3, b"x\n")) == [b"x"]
    assert texts(Lines({("a", "stdout"): 3}), (0, b"abcx\n")) == [b"x"]


def test_a_line_without_end_is_cut() -> None:
    lines = Lines()
    found = texts(lines, *((n * 1000, b"x" * 1000) for n in range(100)), (100_000, b"\n"))
    assert max(len(text or b"") for text in found) == MAX_LINE
    assert b"".join(text or b"" for text in found) == b"x" * 100_000


@given(st.binary(max_size=200), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 60)), max_size=30))
def test_every_byte_comes_once_and_in_order(text: bytes, pieces: list[tuple[int, int]]) -> None:
    """Whatever the pieces are, as long as they overlap or go on, and all of them come."""
    lines = Lines()
    reached = 0
    found = []
    for start, size in [*pieces, (0, len(text))]:
        begin = min(start, reached)
        reached = max(reached, min(len(text), begin + size))
        found += lines.take("a", "stdout", begin, text[begin : begin + size])
    found += lines.end()
    expected = text.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert [line.data for line in found] == expected
