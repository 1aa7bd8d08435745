"""How each node's part in a job is told, where the server tells it."""

import msgspec

from pushy_cli import job_text
from pushy_cli.render import PIPE
from pushy_protocol.api import Job, NodeDetail
from tests.pushy_cli.test_render import job


def detailed(status: str, /, **details: NodeDetail) -> Job:
    """A job whose nodes are those of which details are known."""
    nodes: dict[str, list[str]] = {}
    for name, detail in details.items():
        nodes.setdefault(detail.status, []).append(name)
    return msgspec.structs.replace(job(status, **nodes), node_details=details)


ENDED = detailed(
    "complete",
    web1=NodeDetail(status="succeeded", exit_status=0, duration=0.25),
    web2=NodeDetail(status="succeeded", exit_status=0, duration=71.0),
    web10=NodeDetail(status="succeeded", exit_status=0),
    db1=NodeDetail(status="failed", exit_status=3, reason="exit status 3", duration=2.04),
    db2=NodeDetail(status="failed", exit_status=3, duration=2.01),
    db3=NodeDetail(status="failed", signal=9, reason="signal 9", duration=12.3),
    db4=NodeDetail(status="failed", signal=9, reason="timed_out"),
    db5=NodeDetail(status="failed", signal=200),
    db6=NodeDetail(status="failed", reason="no_such_user"),
    old=NodeDetail(status="crashed", reason="crashed", duration=3.0),
    new=NodeDetail(status="nacked", reason="busy"),
)


def test_the_summary_says_how_commands_ended() -> None:
    assert job_text.summary(ENDED, PIPE).splitlines()[1:] == [
        "  succeeded  3  web[1-2,10]",
        "  failed     2  db[1-2] (exit 3)",
        "  failed     1  db6 (no_such_user)",
        "  failed     1  db5 (signal 200)",
        "  failed     1  db3 (signal 9 (KILL))",
        "  failed     1  db4 (signal 9 (KILL), timed_out)",
        "  crashed    1  old",
        "  nacked     1  new (busy)",
    ]


def test_the_status_also_says_how_long_they_took() -> None:
    lines = job_text.job_details(ENDED, PIPE).splitlines()
    assert "  succeeded  3  web[1-2,10], in 0.2 s to 1:11" in lines
    assert "  failed     2  db[1-2] (exit 3), in 2.0 s" in lines
    assert "  failed     1  db3 (signal 9 (KILL)), in 12 s" in lines
    assert "  nacked     1  new (busy)" in lines


def test_node_by_node() -> None:
    assert job_text.job_by_node(ENDED, PIPE).partition("\n\n")[2].splitlines()[:7] == [
        "NODE   STATUS     EXIT             TOOK   REASON",
        "web1   succeeded                   0.2 s",
        "web2   succeeded                   1:11",
        "web10  succeeded",
        "db1    failed     exit 3           2.0 s",
        "db2    failed     exit 3           2.0 s",
        "db3    failed     signal 9 (KILL)  12 s",
    ]


def test_a_server_that_tells_reasons_only() -> None:
    told = msgspec.structs.replace(job(failed=["a", "b"]), reasons={"a": "exit status 3"})
    assert job_text.summary(told, PIPE).splitlines()[1:] == ["  failed  1  b", "  failed  1  a (exit status 3)"]
    table = job_text.job_by_node(told, PIPE).splitlines()
    assert table[-2:] == [
        "a     failed              exit status 3",
        "b     failed",
    ]
