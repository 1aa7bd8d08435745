"""Command lines of the original's whitelist as ours.

The original gave a command with something in it that only a shell understands to one, after it had put what a regular
expression caught into the text; without that it split the text at spaces. Ours puts what was caught into a word, or
hands it to the shell as ``$1``. So a command says as before what it does, and a request can no longer add to its text.
"""

import re
import shlex
from collections.abc import Iterator

from attrs import frozen

from pushy_agent.import_config.regex import Translated
from pushy_protocol.conversion import Unconvertible

_UNQUOTED = set("*?{}[]<>()~&|\\$;`\n")
"""What means something to a shell outside of quotes."""

_DOUBLE_QUOTED = set("\\$`")
# What looks like a pattern of file names and, in a run list, is none.
_RUN_LIST = re.compile(r"\b(?:recipe|role)\[[^\]\[\s*?]*\]")
_REPLACEMENT = re.compile(r"\\(?:([0-9&])|k<(\w+)>|(\\))")
_NESTED = re.compile(r"(?:^|[\s/;|&('\"])(?:(?:ba|da|k|z)?sh|eval|ssh|su)(?:$|[\s'\"])")
_SET = re.compile(r"\[(\^?)((?:\\.|[^\]\\])+)\]", re.DOTALL)
_SPACE = re.compile(r"(?<!\\)(?:\\\\)*(?:[. \n\t]|\\[sDWnt])")
_SPACE_IN_SET = re.compile(r"[ \n\t]|(?<!\\)(?:\\\\)*\\[sDWnt]")
# fmt: off
_OF_THE_SHELL = frozenset({
    "!", ".", ":", "alias", "bg", "break", "case", "cd", "command", "continue", "do", "done", "elif", "else", "esac",
    "eval", "exec", "exit", "export", "fc", "fg", "fi", "for", "getopts", "hash", "if", "jobs", "local", "read",
    "readonly", "return", "set", "shift", "source", "then", "times", "trap", "type", "ulimit", "umask", "unalias",
    "unset", "until", "wait", "while",
})
# fmt: on


@frozen(kw_only=True)
class Command:
    """What a whitelist entry of ours says of its command.

    :param is_split: whether something that was caught is split into words by the shell, as it was before
    """

    text: str
    shell: bool
    is_split: bool = False


@frozen
class _Caught:
    """Where what a group caught stands; `quote` is the quotation mark around it."""

    number: int
    quote: str


def convert_command(text: str, expression: Translated | None) -> Command:
    """A command of the original as one of ours.

    :param expression: the entry's, whose groups ``\\1`` and its like name; None for a plain name
    :raise Unconvertible: it has no equal
    """
    pieces = list(_quoting(_replaced(text, expression) if expression else [text]))
    shell = _needs_shell(pieces)
    if not expression:
        _check_words(text, shell=shell)
        return Command(text=text, shell=shell)
    caught = [piece for piece in pieces if isinstance(piece, _Caught)]
    split = {group.number for group in caught if not group.quote and _may_hold_space(group.number, expression)}
    shell = shell or bool(split)
    if caught:
        _check_nesting(text)
    said = "".join(piece if isinstance(piece, str) else _said(piece, split, shell=shell) for piece in pieces)
    _check_words(said, shell=shell)
    return Command(text=said, shell=shell, is_split=bool(split))


def _replaced(text: str, expression: Translated) -> Iterator[str | int]:
    """The pieces of a replacement as Ruby's ``gsub`` reads it: text, and the numbers of groups."""
    at = 0
    for found in _REPLACEMENT.finditer(text):
        yield text[at : found.start()]
        at = found.end()
        if found[3]:
            yield "\\"
            continue
        if found[2] and found[2] not in expression.names:
            raise Unconvertible(f"the command uses \\k<{found[2]}>, which the expression has not")
        number = expression.names[found[2]] if found[2] else int(found[1].replace("&", "0"))
        if number > len(expression.groups):
            raise Unconvertible(f"the command uses \\{number}, which the expression has not")
        yield number
    yield text[at:]


def _quoting(pieces: Iterator[str | int] | list[str]) -> Iterator[str | _Caught]:
    """The same, character by character, with the quotation marks that are open."""
    quote, is_escaped = "", False
    for piece in pieces:
        if isinstance(piece, int):
            if is_escaped:
                raise Unconvertible("the command has a backslash before what is caught")
            yield _Caught(piece, quote)
            continue
        for character in piece:
            if is_escaped:
                is_escaped = False
            elif character == "\\" and quote != "'":
                is_escaped = True
            elif character == quote:
                quote = ""
            elif character in "'\"" and not quote:
                quote = character
            yield character
    if quote:
        raise Unconvertible(f"the command has a {quote} without another")


def _needs_shell(pieces: list[str | _Caught]) -> bool:
    text = "".join(piece if isinstance(piece, str) else "x" for piece in pieces)
    first = (text.split() or [""])[0]
    if "=" in first or first in _OF_THE_SHELL or re.search(r"(?:^|\s)#", text):
        return True
    quote = ""
    for character in _RUN_LIST.sub("x", text):
        if character in (_DOUBLE_QUOTED if quote else _UNQUOTED) and quote != "'":
            return True
        if character == quote:
            quote = ""
        elif character in "'\"" and not quote:
            quote = character
    return False


def _may_hold_space(number: int, expression: Translated) -> bool:
    text = expression.groups[number - 1] if number else expression.pattern
    if any(bool(negated) != bool(_SPACE_IN_SET.search(items)) for negated, items in _SET.findall(text)):
        return True
    return bool(_SPACE.search(_SET.sub("", text)))


def _said(caught: _Caught, split: set[int], *, shell: bool) -> str:
    if not shell:
        return f"\\{caught.number}"
    if caught.quote == '"' or (not caught.quote and caught.number in split):
        return f"${caught.number}"
    return f'"${caught.number}"' if not caught.quote else f"'\"${caught.number}\"'"


def _check_nesting(text: str) -> None:
    if "`" in text or "$(" in text:
        raise Unconvertible("what is caught stands beside a command within the command")
    if _NESTED.search(text):
        raise Unconvertible("what is caught is given to a program that takes it for a command")


def _check_words(text: str, *, shell: bool) -> None:
    if not text.strip():
        raise Unconvertible("the command is empty")
    if not shell:
        try:
            shlex.split(text)
        except ValueError as error:
            raise Unconvertible(f"the command cannot be split into words: {error}") from None
