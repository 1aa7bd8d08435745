import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushy_cli import job_text, render
from pushy_cli.node_text import node_table
from pushy_cli.output_text import View, blocks
from pushy_cli.render import PIPE, Style
from pushy_cli.standing import Standing, standing_of
from pushy_protocol.api import Job, JobRequest, NodeState

TERMINAL = Style(terminal=True, unicode=True, width=80)
COLOURED = Style(terminal=True, unicode=True, width=80, colour=True)
ASCII = Style(terminal=True, width=80)
TIME = "Tue, 04 Sep 2012 23:01:02 GMT"


def job(status: str = "complete", /, **nodes: list[str]) -> Job:
    return Job(
        id="ab" * 16, command="uptime", status=status, run_timeout=3600, created_at=TIME, updated_at=TIME,
        nodes=nodes or None,
    )  # fmt: skip


def explained(ended: Job, reasons: dict[str, str]) -> Job:
    return msgspec.structs.replace(ended, reasons=reasons)


WEB = [f"web{n:03}" for n in range(1, 121)]

SUMMARIES = {
    "all succeeded": (
        job(succeeded=WEB),
        "Job abababababababababababababababab is complete: 120 of 120 nodes succeeded, in 1:05.\n"
        "  succeeded  120  web[001-120]",
    ),
    "some failed, with reasons": (
        explained(
            job(succeeded=WEB[:116], failed=WEB[116:118], nacked=["db1", "db2"], unavailable=["old"]),
            {"web117": "exit status 3", "web118": "signal 9", "db1": "busy", "db2": "busy"},
        ),
        "Job abababababababababababababababab is complete: 116 of 121 nodes succeeded, in 1:05.\n"
        "  succeeded    116  web[001-116]\n"
        "  failed         1  web117 (exit status 3)\n"
        "  failed         1  web118 (signal 9)\n"
        "  nacked         2  db[1-2] (busy)\n"
        "  unavailable    1  old",
    ),
    "quorum failed": (
        job("quorum_failed", was_ready=["web1"], unavailable=["web2"], nacked=["web3"]),
        "Job abababababababababababababababab missed its quorum: 1 of 3 nodes ready, in 1:05.\n"
        "  nacked       1  web3\n"
        "  unavailable  1  web2\n"
        "  was ready    1  web1",
    ),
    "timed out": (
        job("timed_out", succeeded=["web1"], timed_out=["web2", "web3"]),
        "Job abababababababababababababababab timed out: 1 of 3 nodes succeeded, in 1:05.\n"
        "  succeeded  1  web1\n"
        "  timed out  2  web[2-3]",
    ),
    "aborted": (
        job("aborted", aborted=["web1"]),
        "Job abababababababababababababababab was aborted: 0 of 1 node succeeded, in 1:05.\n  aborted  1  web1",
    ),
    "a status of a later version": (
        job("on_hold", dozing=["web1"]),
        "Job abababababababababababababababab is on hold: 0 of 1 node succeeded, in 1:05.\n  dozing  1  web1",
    ),
    "no nodes": (job(), "Job abababababababababababababababab is complete: 0 of 0 nodes succeeded, in 1:05."),
}  # fmt: skip


@pytest.mark.parametrize(("ended", "text"), SUMMARIES.values(), ids=SUMMARIES.keys())
def test_summary(ended: Job, text: str) -> None:
    assert job_text.summary(ended, PIPE, 65.9) == text
    assert job_text.summary(ended, TERMINAL, 65.9) == text


def test_a_coloured_summary() -> None:
    text = job_text.summary(job(succeeded=["a"], failed=["b"]), COLOURED)
    assert text == (
        "Job abababababababababababababababab \x1b[33mis complete\x1b[0m: 1 of 2 nodes succeeded.\n"
        "  \x1b[32msucceeded\x1b[0m  1  a\n"
        "  \x1b[31mfailed   \x1b[0m  1  b"
    )


def test_long_names_are_wrapped_on_a_terminal_only() -> None:
    names = [f"{letter * 12}" for letter in "abcdefgh"]
    assert job_text.summary(job(failed=names), TERMINAL).splitlines()[1:] == [
        "  failed  8  aaaaaaaaaaaa,bbbbbbbbbbbb,cccccccccccc,dddddddddddd,eeeeeeeeeeee,",
        "             ffffffffffff,gggggggggggg,hhhhhhhhhhhh",
    ]
    assert len(job_text.summary(job(failed=names), PIPE).splitlines()) == 2


def test_what_others_wrote_cannot_control_the_terminal() -> None:
    evil = "a\x1b]0;title\x07\u202e\x9b2J\n\ud800"
    shown = [
        job_text.summary(explained(job(failed=[evil]), {evil: evil}), TERMINAL),
        job_text.job_details(
            Job(id=evil, command=evil, status=evil, run_timeout=1, created_at=evil, updated_at=evil), TERMINAL
        ),
        job_text.job_table(
            [Job(id=evil, command=evil, status="new", run_timeout=1, created_at="", updated_at="")], TERMINAL
        ),
        node_table([NodeState(evil, "online", "available")], TERMINAL),
        render.change_line(standing_of(job(evil, **{evil: ["a"]}))),
        render.progress_line(standing_of(job(evil, **{evil: ["a"]})), 1, TERMINAL),
    ]
    for text in shown:
        assert all(line.isprintable() for line in text.split("\n"))
    assert render.plain("\x1b\u2028\udcff") == "\\x1b\\u2028\\xff"


@given(st.text(st.characters(), max_size=30))
def test_captured_output_never_controls_a_terminal(text: str) -> None:
    shown = render.printable(text, TERMINAL)
    assert all(line.isprintable() or not line for line in shown.replace("\t", "").split("\n")) or not text.isprintable()
    assert "\x1b" not in shown
    assert render.printable(text, PIPE) == text


def test_captured_output_may_have_colours() -> None:
    text = "\x1b[1;31mred\x1b[0m \x1b[2J\x1b]0;t\x07\r\nx\ry\tz\n"
    assert render.printable(text, COLOURED) == "\x1b[1;31mred\x1b[0m \\x1b[2J\\x1b]0;t\\x07\nx\\x0dy\tz\x1b[0m\n"
    assert render.printable(text, TERMINAL) == "red \\x1b[2J\\x1b]0;t\\x07\nx\\x0dy\tz\n"
    assert render.printable("\x1b[31mx", COLOURED) == "\x1b[31mx\x1b[0m"


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0:00"), (0, "0:00"), (59.9, "0:59"), (60, "1:00"), (3599, "59:59"), (3661, "1:01:01")]
)
def test_duration(seconds: float, text: str) -> None:
    assert render.duration(seconds) == text


def test_progress_lines() -> None:
    voting = standing_of(job("voting", new=WEB[:60], ready=WEB[60:]))
    running = standing_of(job("running", succeeded=WEB[:30], failed=WEB[30:31], running=WEB[31:]))
    assert render.progress_line(voting, 3, TERMINAL) == "voting   0:03  ━━━━━━━━━━┄┄┄┄┄┄┄┄┄┄  60/120  60 ready  60 new"
    assert render.progress_line(running, 64, ASCII) == (
        "running  1:04  #####...............  31/120  30 succeeded  1 failed  89 running"
    )
    assert render.progress_line(running, 64, Style(width=40)) == "running  1:04  31/120  30 succeeded"
    assert render.progress_line(running, 64, Style(width=5)) == ""
    assert render.progress_line(standing_of(job("new")), 0, TERMINAL) == "new      0:00  ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄  0/0"
    assert render.change_line(running) == "running: 30 succeeded, 1 failed, 89 running"
    assert render.reading_line(1, 4, ASCII) == "output   #####...............  1/4"


@given(st.integers(1, 300), st.integers(0, 20000), st.integers(0, 20000))
def test_the_live_line_never_wraps(width: int, done: int, going: int) -> None:
    state = Standing(status="running", counts={"succeeded": done, "failed": done, "running": going})
    assert len(render.progress_line(state, 100, Style(width=width))) < max(width, 1)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_bar_is_full_only_at_the_end(done: int, more: int) -> None:
    drawn = render.bar(done, done + more, ASCII)
    assert len(drawn) == 20
    assert ("." not in drawn) == (more == 0 and done > 0)


def test_job_details() -> None:
    shown = Job(
        id="ab" * 16, command="uptime", status="timed_out", run_timeout=7.5, created_at=TIME, updated_at="now",
        nodes={"timed_out": ["web2", "web1"]}, user="me", dir="/tmp", env={"TOKEN": "secret", "A": "1"},
        capture_output=True, file_specified=True,
    )  # fmt: skip
    assert job_text.job_details(shown, PIPE) == (
        "Job:          abababababababababababababababab\n"
        "Command:      uptime\n"
        "Status:       timed out since now\n"
        "Created:      2012-09-04 23:01:02Z\n"
        "Run timeout:  7.5 s\n"
        "As user:      me\n"
        "In directory: /tmp\n"
        "With env:     TOKEN, A\n"
        "With file:    yes\n"
        "Output:       captured\n"
        "Nodes:        2\n"
        "  timed_out  2  web[1-2]".replace("timed_out", "timed out")
    )


def test_tables() -> None:
    jobs = [
        job("running"),
        Job(
            id="c" * 32,
            command="echo 世界 " + "x" * 50,
            status="quorum_failed",
            run_timeout=1,
            created_at=TIME,
            updated_at=TIME,
        ),
    ]
    assert job_text.job_table(jobs, TERMINAL).splitlines() == [
        "ID                                STATUS         CREATED            COMMAND",
        "abababababababababababababababab  running        2012-09-04 23:01Z  uptime",
        "cccccccccccccccccccccccccccccccc  quorum failed  2012-09-04 23:01Z  echo 世界 x…",
    ]
    assert job_text.job_table(jobs, PIPE).endswith("x" * 50)
    nodes = [
        NodeState("web10", "online", "available"),
        NodeState("世9", "online", "unavailable"),
        NodeState("web9", "offline", "unavailable"),
    ]
    assert node_table(nodes, PIPE).splitlines() == [
        "NODE   STATUS   AVAILABILITY",
        "web9   offline  unavailable",
        "web10  online   available",
        "世9    online   unavailable",
    ]
    assert "\x1b[31moffline\x1b[0m  \x1b[33munavailable\x1b[0m" in node_table(nodes, COLOURED)


def test_outputs_are_grouped_by_text_and_the_commonest_is_first() -> None:
    texts = {
        "stdout": {b"old\n": ["web3"], b"new\nlines": ["web1", "web2"], b"": ["web4"]},
        "stderr": {b"boom \xff": ["web3"]},
    }
    assert "".join(blocks(texts, PIPE)) == (
        "---------------\nweb[1-2] (2)\n---------------\nnew\nlines\n"
        "---------------\nweb3\n---------------\nold\n"
        "---------------\nweb3 [stderr]\n---------------\nboom \udcff\n"
    )
    assert list(blocks(texts, COLOURED))[2] == (
        "\x1b[31m───────────────\x1b[0m\n\x1b[31mweb3 [stderr]\x1b[0m\n\x1b[31m───────────────\x1b[0m\nboom \\xff\n"
    )


TEXTS = {
    "stdout": {b"a\nb\nc\n": ["web1", "web2", "web10"], b"a\nB\nc\n": ["web3"], b"": ["web4"]},
    "stderr": {b"": ["web1", "web2", "web3", "web4"]},
}


def test_outputs_one_by_one() -> None:
    titles = [block.splitlines()[1] for block in blocks(TEXTS, PIPE, View.BY_NODE)]
    assert titles == ["web1", "web2", "web3", "web10"]


def test_outputs_as_differences_from_the_commonest() -> None:
    assert "".join(blocks(TEXTS, PIPE, View.DIFF)) == (
        "---------------\nweb[1-2,10] (3)\n---------------\na\nb\nc\n"
        "---------------\nweb3\n---------------\n--- web[1-2,10]\n+++ web3\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"
        "---------------\nweb4\n---------------\n--- web[1-2,10]\n+++ web4\n@@ -1,3 +0,0 @@\n-a\n-b\n-c\n"
    )


def test_a_dry_run() -> None:
    request = JobRequest(command="uptime", nodes=("web1", "web2", "db1"))
    nodes = {"available": ["web1", "web2"], "unavailable": ["db1"], "offline": []}
    assert job_text.dry_run(request, nodes, 2, PIPE) == (
        "Nothing was started. The quorum would be reached: 2 of 3 nodes available, 2 needed.\n"
        "  available    2  web[1-2]\n  unavailable  1  db1"
    )
    assert "would fail: 2 of 3 nodes available, 3 needed" in job_text.dry_run(request, nodes, 3, TERMINAL)
