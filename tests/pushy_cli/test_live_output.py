from collections import Counter
from collections.abc import Iterable

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from pushy_cli.lines import Line
from pushy_cli.live_output import BURST, ROWS_PER_SECOND, TOLD_EVERY, Budget, LiveOutput
from pushy_cli.render import PIPE, Style

TERMINAL = Style(terminal=True, unicode=True, width=80)


@define
class Display:
    """Notes what it is to show, and when."""

    out_style: Style = PIPE
    err_style: Style = PIPE
    shown: list[tuple[str, str]] = field(factory=list)

    def stream(self, texts: Iterable[tuple[str, str]]) -> None:
        self.shown += texts

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.shown)


def live(display: Display, clock: Clock, *nodes: str, only_stderr: bool = False) -> LiveOutput:
    return LiveOutput(display, clock, job_id="j", nodes=nodes, only_stderr=only_stderr)


def test_lines_are_prefixed_and_in_order_of_arrival() -> None:
    display, clock = Display(), Clock()
    output = live(display, clock, "web1", "db10")
    output.take("web1", "stdout", 0, b"one\nt")
    output.take("db10", "stderr", 0, b"oh \xff\n")
    output.take("web1", "stdout", 5, b"wo\n")
    assert display.shown == []  # what comes in one go is written in one
    clock.advance(0)
    assert display.shown == [("stdout", "web1 | one\n"), ("stderr", "db10 ! oh \udcff\n"), ("stdout", "web1 | two\n")]
    output.close()
    assert not clock.getDelayedCalls()


def test_a_part_of_a_line_is_shown_at_the_nodes_end() -> None:
    display, clock = Display(), Clock()
    output = live(display, clock, "a", "b")
    output.take("a", "stdout", 0, b"tail")
    output.take("b", "stdout", 0, b"last")
    clock.advance(1)
    assert display.text == ""
    output.node_ended("a")
    clock.advance(0)
    assert display.text == "a | tail\n"
    output.close()
    assert display.text == "a | tail\nb | last\n"


def test_missing_bytes_are_told() -> None:
    display, clock = Display(), Clock()
    output = live(display, clock, "a")
    output.take("a", "stdout", 7, b"x\n")
    output.close()
    assert display.text == "a | (7 bytes are missing here)\na | x\n"


def test_a_document_has_stdout_to_itself() -> None:
    display, clock = Display(), Clock()
    output = live(display, clock, "a", only_stderr=True)
    output.take("a", "stdout", 0, b"x\n")
    output.close()
    assert display.shown == [("stderr", "a | x\n")]


def test_a_terminal_shows_nothing_that_would_control_it() -> None:
    style = Style(terminal=True, unicode=True, colour=True, width=80)
    display, clock = Display(style, style), Clock()
    output = live(display, clock, "a", "b\x1b[2J")
    output.take("a", "stdout", 0, b"\x1b]0;title\x07x\n10%\r 20%\r100%\r\n")
    output.take("b\x1b[2J", "stderr", 0, b"y\n")
    output.close()
    assert display.shown == [
        ("stdout", f"\x1b[36m{'a':8}\x1b[0m | \\x1b]0;title\\x07x\n"),
        ("stdout", f"\x1b[36m{'a':8}\x1b[0m | 100%\n"),
        ("stderr", "\x1b[32mb\\x1b[2J\x1b[0m \x1b[31m!\x1b[0m y\n"),
    ]


def test_a_terminal_is_not_flooded_and_it_is_told() -> None:
    display, clock = Display(TERMINAL, TERMINAL), Clock()
    nodes = [f"n{number}" for number in range(100)]
    output = live(display, clock, *nodes)
    offsets: Counter[str] = Counter()
    for _ in range(100):  # ten seconds of 10,000 lines each
        for node in nodes:
            output.take(node, "stdout", offsets[node], b"x\n" * 10)
            offsets[node] += 20
        clock.advance(0.1)
    output.close()
    lines = display.text.splitlines()
    told = [line for line in lines if line.startswith("...")]
    shown = [line for line in lines if not line.startswith("...")]
    assert len(shown) <= BURST + 10 * ROWS_PER_SECOND + 1
    assert 2 <= len(told) <= 10 / TOLD_EVERY + 1
    left_out = 100_000 - len(shown)
    assert told[-1] == f"... In all, {left_out:,} lines of 100 nodes left out here; all of it: pushy job output j"


def test_a_pipe_gets_everything() -> None:
    display, clock = Display(), Clock()
    output = live(display, clock, "a")
    output.take("a", "stdout", 0, b"x\n" * 100_000)
    clock.advance(0)
    assert len(display.shown) == 100_000


def test_a_loud_node_does_not_hide_the_others() -> None:
    budget = Budget(0.0)
    loud = [Line("loud", "stdout", b"x")] * 10_000
    quiet = [Line(f"quiet{number}", "stdout", b"x") for number in range(50)]
    chosen = Counter(line.node for line in budget.choose(loud + quiet, 0.0, 80))
    assert all(chosen[line.node] == 1 for line in quiet)
    assert chosen["loud"] == BURST - 50


def test_a_quiet_time_gives_room_again() -> None:
    budget = Budget(0.0)
    lines = [Line("a", "stdout", b"x")] * 5000
    assert len(budget.choose(lines, 0.0, 80)) == BURST
    assert len(budget.choose(lines, 0.1, 80)) == ROWS_PER_SECOND / 10
    assert len(budget.choose(lines, 100.0, 80)) == BURST
    assert len(budget.choose([Line("a", "stdout", b"x" * 800)] * 500, 200.0, 80)) == BURST // 11


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 400)), max_size=300), st.floats(0, 5))
def test_never_more_than_there_is_room_for(lines: list[tuple[str, int]], now: float) -> None:
    budget = Budget(0.0)
    budget.choose([Line("z", "stdout", b"")] * 2000, 0.0, 80)
    waiting = [Line(node, "stdout", b"x" * size) for node, size in lines]
    room = budget.left(now)
    chosen = budget.choose(waiting, now, 80)
    assert sum(1 + len(line.data or b"") // 80 for line in chosen) <= room
    assert budget.left(now) >= 0
    left = iter(waiting)
    assert all(line in left for line in chosen)  # in their order
