"""Commands of the original: told apart by what they need, and run beside what they became."""

import shlex
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pushy_agent.import_config.commands import convert_command
from pushy_agent.import_config.regex import translate
from pushy_agent.whitelist import Whitelist
from pushy_protocol.conversion import Unconvertible
from pushy_protocol.ruby_values import Regex


@pytest.mark.parametrize(
    "text",
    [
        "df -h",
        "chef-client -o recipe[base::default],role[web]",
        "echo 'a;b' \"c d\" '$e'",
        "a --x=y %d a,b @c +e",
    ],
)
def test_without_a_shell(text: str) -> None:
    command = convert_command(text, None)
    assert (command.text, command.shell) == (text, False)


@pytest.mark.parametrize(
    "text",
    [
        *("a; b", "a && b", "a | b", "a > b", "a < b", "a &", "ls *", "ls a?", "ls [ab]", "echo $A", 'echo "$A"'),
        *("echo `a`", 'echo "`a`"', "echo $(a)", "A=b c", "cd /a", "exec a", ". a", "a # b", "cp ~/a b", "a\nb"),
        *("{ a; }", "(a)", "! a", r"a\ b", r'echo "\"a"', "ls recipe[a*]"),
    ],
)
def test_with_a_shell(text: str) -> None:
    command = convert_command(text, None)
    assert (command.text, command.shell) == (text, True)


@pytest.mark.parametrize(
    ("expression", "text", "expected", "shell", "is_split"),
    [
        (r"a (\w+)", r"b \1", r"b \1", False, False),
        (r"a (\w+)", r"b '\1' \0", """b ''"$1"'' $0""", True, True),
        (r"a(\w+)", r"b '\1' \0", r"b '\1' \0", False, False),
        (r"a(\w+)", r"b \&", r"b \0", False, False),
        (r"a(?<x>\w+)", r"b \k<x>", r"b \1", False, False),
        (r"a(\w+)", r"b \1 > /c", 'b "$1" > /c', True, False),
        (r"a(\w+)", r'b "x \1" > /c', 'b "x $1" > /c', True, False),
        (r"a(\w+)", r"b 'x \1' > /c", """b 'x '"$1"'' > /c""", True, False),
        (r"a(.*)", r"b \1", "b $1", True, True),
        (r"a(.*)", r"b '\1'", r"b '\1'", False, False),
        (r"a(.*)", r'b "\1"', r'b "\1"', False, False),
        (r"a([\w.-]+)", r"b \1", r"b \1", False, False),
        (r"a([\w -]+)", r"b \1", "b $1", True, True),
        (r"a([^,]+)", r"b \1", "b $1", True, True),
        (r"a([^\s,]+)", r"b \1", r"b \1", False, False),
        (r"a(\S+\.\w)", r"b \1", r"b \1", False, False),
        (r"a(\w+)", r"chef-client -o recipe[\1]", r"chef-client -o recipe[\1]", False, False),
    ],
)
def test_what_is_caught(expression: str, text: str, expected: str, shell: bool, is_split: bool) -> None:
    command = convert_command(text, translate(Regex(expression)))
    assert (command.text, command.shell, command.is_split) == (expected, shell, is_split)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (r"b \2", r"the command uses \2, which the expression has not"),
        (r"b \k<x>", r"the command uses \k<x>, which the expression has not"),
        (r"b \\\1", "the command has a backslash before what is caught"),
        (r"b 'c \1", "the command has a ' without another"),
        (r'b "c', 'the command has a " without another'),
        (r"b $(c \1)", "what is caught stands beside a command within the command"),
        (r"b `c \1`", "what is caught stands beside a command within the command"),
        (r"sh -c '\1'", "what is caught is given to a program that takes it for a command"),
        (r"/bin/bash -c \1", "what is caught is given to a program that takes it for a command"),
        (r"ssh host b \1", "what is caught is given to a program that takes it for a command"),
        (r"eval \1", "what is caught is given to a program that takes it for a command"),
        (" ", "the command is empty"),
        ("", "the command is empty"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(Unconvertible) as raised:
        convert_command(text, translate(Regex(r"a(\w+)")))
    assert str(raised.value) == why


WORDS = ["a", "'b c'", '"d  e"', r"\1", r"x\1y", r"'\1'", r"'f \1'", r'"\1"', r'"g \1 h"', "$HOME", '"$HOME"', "; echo"]
WORDS += ["| cat", "&& echo", "recipe[a]", "#x", ">&1", "''", r"\\\\", "x=y"]


@settings(max_examples=60)
@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=5), caught=st.sampled_from(["v", "v1.w", "v-w"]))
@example(words=[r"'f \1'", "| cat"], caught="v")
def test_it_does_what_it_did(words: list[str], caught: str) -> None:
    text = f"printf <%s> {' '.join(words)}".replace("<%s>", "'<%s>'")
    expression = Regex(r"^run ([\w.-]+)$")
    command = convert_command(text, translate(expression))
    entry = {"command": command.text, "shell": command.shell, "match": "re"}
    match = Whitelist.parse({translate(expression).pattern: entry}).look_up(f"run {caught}")
    assert match is not None
    # As Ruby does it: what was caught becomes part of the text.
    before = text.replace(r"\\", "\0").replace(r"\1", caught).replace("\0", "\\")
    assert output(match.argv) == output(("/bin/sh", "-c", before)), shlex.join(match.argv)


def output(argv: tuple[str, ...]) -> tuple[int, bytes]:
    ended = subprocess.run(
        argv, capture_output=True, cwd="/", env={"HOME": "/root dir", "PATH": "/usr/bin:/bin"}, check=False
    )
    return ended.returncode, ended.stdout
