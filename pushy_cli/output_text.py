"""What the nodes of a job wrote, as text: nodes that wrote the same together, one by one, or as differences.

Pure functions over what :mod:`pushy_cli.captured` gathered. Bytes that are not UTF-8 become surrogates (by
`surrogateescape`), so that they come out as they went in.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import unified_diff
from enum import Enum

from pushy_cli.folding import fold, natural_key
from pushy_cli.render import BAD, BUSY, Style, paint, printable

Texts = Mapping[str, Mapping[bytes, Sequence[str]]]
"""By channel, each text and the nodes that wrote it."""


class View(Enum):
    """How the texts of several nodes are put together."""

    GROUPED = "grouped"
    BY_NODE = "by-node"
    DIFF = "diff"


def blocks(texts: Texts, style: Style, view: View = View.GROUPED) -> Iterator[str]:
    """Blocks that end in a newline, each under the folded names of the nodes that it is of.

    Most nodes first; with `BY_NODE` in the order of the nodes' names. Who wrote nothing has no block.
    """
    match view:
        case View.GROUPED:
            for channel, by_text in texts.items():
                for text, nodes in _commonest_first(by_text):
                    yield _block(channel, nodes, _decoded(text), style)
        case View.BY_NODE:
            written = [
                (natural_key(node), number, channel, node, text)
                for number, (channel, by_text) in enumerate(texts.items())
                for text, nodes in by_text.items()
                for node in nodes
                if text
            ]
            for _, _, channel, node, text in sorted(written):
                yield _block(channel, [node], _decoded(text), style)
        case View.DIFF:
            for channel, by_text in texts.items():
                yield from _differences(channel, by_text, style)


def last_lines(text: bytes, count: int) -> bytes:
    """The last lines of a text, as ``tail -n`` gives them."""
    end = len(text) - text.endswith(b"\n")
    for _ in range(count):
        end = text.rfind(b"\n", 0, end)
        if end < 0:
            return text
    return text[end + 1 :]


def _differences(channel: str, by_text: Mapping[bytes, Sequence[str]], style: Style) -> Iterator[str]:
    """The commonest text (an empty one too), then what is different in each other."""
    ordered = sorted(by_text.items(), key=lambda item: (-len(item[1]), natural_key(min(item[1], key=natural_key))))
    if not ordered or not any(by_text):
        return
    (common, nodes), *others = ordered
    yield _block(channel, nodes, _decoded(common) or "(nothing)\n", style)
    before = _decoded(common).splitlines()
    for text, others_nodes in others:
        lines = unified_diff(before, _decoded(text).splitlines(), fold(nodes), fold(others_nodes), lineterm="", n=1)
        yield _block(channel, others_nodes, "\n".join(lines), style)


def _commonest_first(by_text: Mapping[bytes, Sequence[str]]) -> list[tuple[bytes, Sequence[str]]]:
    written = [(text, nodes) for text, nodes in by_text.items() if text]
    return sorted(written, key=lambda item: (-len(item[1]), natural_key(min(item[1], key=natural_key))))


def _block(channel: str, nodes: Sequence[str], text: str, style: Style) -> str:
    title = f"{fold(nodes)} ({len(nodes)})" if len(nodes) > 1 else fold(nodes)
    if channel != "stdout":
        title += f" [{channel}]"
    rule = ("─" if style.unicode else "-") * 15
    header = "\n".join(paint(line, BAD if channel == "stderr" else BUSY, style) for line in (rule, title, rule))
    body = printable(text, style)
    return f"{header}\n{body}" if body.endswith("\n") else f"{header}\n{body}\n"


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
