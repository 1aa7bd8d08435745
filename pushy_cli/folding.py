"""Node names as people write them: ``web1``, ``web2``, ``web3`` is ``web[1-3]``.

The notation is ClusterShell's and pdsh's. Nothing is looked up, and reading the notation is not done here.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

_NUMBER = re.compile(r"([0-9]+)")
_PLAIN = re.compile(r"[\w.:@+-]+")

# Of more digits than any number that counts something; int() would be slow, then refuse.
_MAX_DIGITS = 18


def fold(names: Iterable[str]) -> str:
    """Names, each once, with runs of numbers folded, in natural order, separated by commas.

    Zeros in front are kept (``web[01-02]``), and several numbers in one name fold into a product
    (``rack[1-2]-node[1-4]``). A name of characters that the notation needs, or that a terminal would obey, is quoted
    as Python would.
    """
    shapes: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    for name in set(names):
        # Text and numbers take turns, so that a name's texts are its shape.
        parts = tuple(_NUMBER.split(name)) if _is_foldable(name) else (name if _PLAIN.fullmatch(name) else repr(name),)
        shapes[parts[::2]].add(parts)
    folded = [parts for group in shapes.values() for parts in _fold_shape(group)]
    return ",".join("".join(parts) for parts in sorted(folded, key=_natural))


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Orders ``web2`` before ``web10``."""
    return _natural(_NUMBER.split(name))


def _is_foldable(name: str) -> bool:
    return bool(_PLAIN.fullmatch(name)) and all(len(number) <= _MAX_DIGITS for number in _NUMBER.findall(name))


def _fold_shape(names: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Fold one number after another, from the last: what is the same but for it becomes one."""
    for position in range(len(next(iter(names))) - 2, 0, -2):
        alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for parts in names:
            alike[(*parts[:position], "", *parts[position + 1 :])].append(parts[position])
        names = {(*rest[:position], _ranges(numbers), *rest[position + 1 :]) for rest, numbers in alike.items()}
    return names


def _ranges(numbers: list[str]) -> str:
    """``["1", "2", "3", "07"]`` as ``[1-3,07]``; one number stands as it is."""
    if len(numbers) == 1:
        return numbers[0]
    runs: list[list[str]] = []
    for number in sorted(numbers, key=lambda text: (len(text), text)):
        # A range is read with the width of its beginning, so that is the width with which it goes on.
        if runs and number == str(int(runs[-1][-1]) + 1).zfill(len(runs[-1][0])):
            runs[-1].append(number)
        else:
            runs.append([number])
    return f"[{','.join(run[0] if len(run) == 1 else f'{run[0]}-{run[-1]}' for run in runs)}]"


def _natural(parts: Iterable[str]) -> tuple[tuple[int, int, str], ...]:
    """Numbers (also those that begin a range) by their value, before texts; the lengths spare int() long ones."""
    key = []
    for part in parts:
        number = _NUMBER.match(part.removeprefix("["))
        digits = number[0].lstrip("0") if number else ""
        key.append((0, len(digits), digits + part) if number else (1, 0, part))
    return tuple(key)
