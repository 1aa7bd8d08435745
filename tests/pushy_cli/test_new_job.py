import base64
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushy_cli.new_job import UsageProblem, make_draft, parse_quorum
from pushy_protocol.api import JobRequest, decode_job_request, encode


@pytest.mark.parametrize(
    ("text", "nodes", "quorum"),
    [
        ("0", 3, 0), ("1", 3, 1), ("3", 3, 3), (" 2 ", 3, 2),
        ("0%", 3, 0), ("1%", 3, 1), ("33%", 3, 1), ("34%", 3, 2), ("50%", 3, 2), ("50%", 4, 2), ("100%", 3, 3),
        ("33.4%", 3, 2), ("29%", 100, 29), ("57%", 100, 57),
    ],
)  # fmt: skip
def test_quorum(text: str, nodes: int, quorum: int) -> None:
    assert parse_quorum(text, nodes) == quorum


@given(st.integers(0, 100), st.integers(1, 20000))
def test_a_percentage_is_the_least_number_of_nodes_that_is_no_less(percent: int, nodes: int) -> None:
    quorum = parse_quorum(f"{percent}%", nodes)
    assert Fraction(quorum * 100, nodes) >= percent
    assert quorum == 0 or Fraction((quorum - 1) * 100, nodes) < percent


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *((wrong, "expected a number") for wrong in ("", "x", "-1", "1.5", "%", "50 %", "1e1", "\u0661", "nan")),
        ("9" * 40, "expected a number"),
        ("101%", "at most 100%"), ("4", "can never be reached by 3 nodes"),
    ],
)  # fmt: skip
def test_quorum_that_is_none(text: str, said: str) -> None:
    with pytest.raises(UsageProblem, match=said) as caught:
        parse_quorum(text, 3)
    assert "--quorum" in str(caught.value)


@given(st.text(max_size=8))
def test_any_text_is_a_quorum_or_a_problem(text: str) -> None:
    with suppress(UsageProblem):
        assert 0 <= parse_quorum(text, 7) <= 7


def test_the_least_request_leaves_the_rest_to_the_server() -> None:
    assert make_draft(command="uptime").request(["a"]) == JobRequest(command="uptime", nodes=("a",))


def test_a_full_request(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\x00\xff")
    draft = make_draft(
        command="uptime", quorum="50%", timeout=7.5, capture=True, user="me", directory="/tmp",
        env_json='{"A": "1"}', env=["B=x=y", "C="], file=file,
    )  # fmt: skip
    request = draft.request(["a", "b", "a"])
    assert request == JobRequest(
        command="uptime", nodes=("a", "b"), quorum=1, run_timeout=7.5, capture_output=True, user="me", dir="/tmp",
        env={"A": "1", "B": "x=y", "C": ""}, file="base64:" + base64.b64encode(b"\x00\xff").decode(),
    )  # fmt: skip
    assert decode_job_request(encode(request)) == request


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ("", "expected a JSON object"), ("[]", "object of strings"), ('{"A": 1}', "object of strings"),
        ('{"A": "1", "A": "2"}', "'A' twice"), ('{"A=B": "1"}', "env: "), ("[" * 100_000, "expected a JSON object"),
        ('{"A": "\\ud800"}', "expected text in UTF-8"),
    ],
)  # fmt: skip
def test_an_environment_that_is_none(env: str, said: str) -> None:
    with pytest.raises(UsageProblem, match=said):
        make_draft(command="uptime", env_json=env)


@pytest.mark.parametrize("command", ["", "a\0b"])
def test_a_command_that_is_none(command: str) -> None:
    with pytest.raises(UsageProblem, match="command: "):
        make_draft(command=command)


def test_a_file_that_is_too_large_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with pytest.raises(UsageProblem, match=r"--file: .* cannot be read: No such file"):
        make_draft(command="uptime", file=file)
    file.write_bytes(bytes(100_001))
    with pytest.raises(UsageProblem, match="--file: expected at most 100000 bytes"):
        make_draft(command="uptime", file=file)


@pytest.mark.parametrize("env", [["A"], ["=1"], ["A=1", "A=2"], ["B=1"]])
def test_a_variable_that_is_none(env: list[str]) -> None:
    with pytest.raises(UsageProblem, match="--env: expected "):
        make_draft(command="uptime", env_json='{"B": "0"}', env=env)


def test_a_quorum_is_looked_at_before_the_nodes_are_known() -> None:
    with pytest.raises(UsageProblem, match="--quorum"):
        make_draft(command="uptime", quorum="most")
    with pytest.raises(UsageProblem, match="can never be reached"):
        make_draft(command="uptime", quorum="2").request(["a"])
