"""What a requested name may run, and that a request never changes more than what a word says."""

import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushy_agent.whitelist import DEFAULT, Whitelist, WhitelistError, merge


def argv(table: dict[str, object], name: str) -> tuple[str, ...] | None:
    match = Whitelist.parse(table).look_up(name)
    return None if match is None else match.argv


PATTERN = {"role (.*) on (.*)": {"command": r"run --role \1 'in  \2' \1\2", "match": "re"}}


@pytest.mark.parametrize(
    ("table", "name", "expected"),
    [
        ({"chef": "chef-client"}, "chef", ("chef-client",)),
        ({"chef": "chef-client"}, "chef ", None),
        ({"chef": "chef-client"}, "Chef", None),
        ({"chef": "chef-client"}, "", None),
        ({"chef": {"command": "chef-client -o 'a b' c\\ d"}}, "chef", ("chef-client", "-o", "a b", "c d")),
        ({"chef": {"command": "x", "match": "exact"}}, "chef", ("x",)),
        ({"a.c": "x"}, "abc", None),
        ({"x": "$HOME; rm `ls` \\1"}, "x", ("$HOME;", "rm", "`ls`", "1")),
        (PATTERN, "role web on eu", ("run", "--role", "web", "in  eu", "webeu")),
        (PATTERN, "role ' \\2; \" on $(x) y", ("run", "--role", "' \\2; \"", "in  $(x) y", "' \\2; \"$(x) y")),
        (PATTERN, "xrole a on b", None),
        (PATTERN, "role a on b\nc", None),
        ({"a|b": {"command": "x", "match": "re"}}, "ab", None),
        ({"(a)|b": {"command": r"x '\1'", "match": "re"}}, "b", ("x", "")),
        ({"a.*": {"command": r"x \0", "match": "re"}}, "a b", ("x", "a b")),
        ({"a.*": {"command": r"x '\\1'", "match": "re"}}, "ab", ("x", "\\\\1")),
        ({".*": {"command": "any", "match": "re"}, "one": "exact"}, "one", ("exact",)),
        ({"a.*": {"command": "first", "match": "re"}, ".*": {"command": "second", "match": "re"}}, "ab", ("first",)),
        ({".*": {"command": "any", "match": "re"}}, "a\0b", None),
        ({"x": {"command": "ls | wc", "shell": True}}, "x", ("/bin/sh", "-c", "ls | wc", "x")),
        (
            {"x (.*)(y)?": {"command": 'ls "$1" | wc', "shell": True, "match": "re"}},
            "x $(id) '",
            ("/bin/sh", "-c", 'ls "$1" | wc', "x $(id) '", "$(id) '", ""),
        ),
    ],
)
def test_look_up(table: dict[str, object], name: str, expected: tuple[str, ...] | None) -> None:
    assert argv(table, name) == expected


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"x": 1}, "'x': expected 'object', got 'int'"),
        ({"x": {}}, "'x': object missing required field 'command'"),
        ({"x": {"command": 1}}, "'x': command: expected 'str', got 'int'"),
        ({"x": {"command": "y", "glob": True}}, "'x': object contains unknown field 'glob'"),
        ({"x": {"command": " ", "shell": True}}, "'x': expected a command, got an empty one"),
        (
            {"x(.)": {"command": r"y \1", "shell": True, "match": "re"}},
            "'x(.)': expected \"$1\" and not \\1 for a group",
        ),
        ({"x": {"command": "y", "lock": "rel"}}, "'x': lock: expected an absolute path, got 'rel'"),
        ({"x": {"command": "y", "dir": "a"}}, "'x': dir: expected an absolute path, got 'a'"),
        ({"x": {"command": "y", "env": {"A=": "b"}}}, "'x': env: 'A=' is no name and value of an environment variable"),
        ({"x": {"command": "y", "timeout": 0}}, "'x': timeout: expected 'float' > 0"),
        ({"x": {"command": "y", "capture_limit": -1}}, "'x': capture_limit: expected 'int' >= 0"),
        ({"x": {"command": "y", "match": "glob"}}, "'x': match: invalid enum value 'glob'"),
        ({"x": "a 'b"}, "'x': expected a command with balanced quotes: No closing quotation"),
        ({"x": ""}, "'x': expected a command, got an empty one"),
        ({"x(": {"command": "y", "match": "re"}}, "'x(': expected a regular expression"),
        ({"x(.)": {"command": r"y \1 \2", "match": "re"}}, r"the command uses \2, but the expression has 1 group(s)"),
    ],
)
def test_errors_name_the_entry(table: dict[str, object], said: str) -> None:
    with pytest.raises(WhitelistError, match=re.escape(said)):
        Whitelist.parse(table)


def test_default_is_the_chef_client_alone() -> None:
    assert argv(dict(DEFAULT), "chef-client") == ("chef-client",)
    assert argv(dict(DEFAULT), "ls") is None


COMMANDS = [r"run \1", r"run '\1 and \2' x", r'sh -c "echo \1" \2\1', r"\1 \2", r"a\1b '' \2"]


@given(
    command=st.sampled_from(COMMANDS),
    first=st.text().filter(lambda text: "\0" not in text),
    second=st.text().filter(lambda text: "\0" not in text),
)
def test_request_text_never_changes_how_a_command_is_split(command: str, first: str, second: str) -> None:
    table: dict[str, object] = {r"(?s:(.*))=>(?s:(.*))": {"command": command, "match": "re"}}
    words = argv(table, f"{first}=>{second}")
    assert words is not None
    assert len(words) == len(shlex.split(command))
    # What is not a group stands as it was written.
    plain = argv(table, "1=>2")
    assert plain == tuple(shlex.split(command.replace("\\", "")))


A, B = Path("/a.toml"), Path("/b.toml")


def test_files_are_merged_and_the_first_expression_counts() -> None:
    whitelist = merge(
        [(A, {"one": "1", ".*": {"command": "a", "match": "re"}}), (B, {"b.*": {"command": "b", "match": "re"}})]
    )
    assert [entry.name for entry in whitelist.entries] == ["one", ".*", "b.*"]
    match = whitelist.look_up("bc")
    assert match is not None
    assert match.argv == ("a",)


def test_without_any_file_the_default_is_left_and_an_empty_one_allows_nothing() -> None:
    assert merge([]).look_up("chef-client") is not None
    assert merge([(A, {})]).look_up("chef-client") is None


def test_a_name_in_two_files_is_an_error_that_names_both() -> None:
    with pytest.raises(WhitelistError, match=re.escape("'one' is in /a.toml and again in /b.toml")):
        merge([(A, {"one": "1"}), (B, {"one": "1"})])
    with pytest.raises(WhitelistError, match=re.escape("/b.toml: whitelist: 'x': expected a command")):
        merge([(A, {"one": "1"}), (B, {"x": ""})])
