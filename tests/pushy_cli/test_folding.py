import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushy_cli.folding import fold, natural_key


def unfold(text: str) -> list[str]:
    """The reference: reads the notation for names of plain characters."""
    names: list[str] = []
    for item in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        pieces = re.findall(r"\[[^\]]*\]|[^\[]+", item)
        parts = [_expanded(piece[1:-1]) if piece.startswith("[") else [piece] for piece in pieces]
        names += ["".join(chosen) for chosen in product(*parts)]
    return names


def _expanded(ranges: str) -> list[str]:
    numbers = []
    for item in ranges.split(","):
        low, _, high = item.partition("-")
        numbers += [str(n).zfill(len(low)) for n in range(int(low), int(high or low) + 1)]
    return numbers


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        ([], ""),
        (["web"], "web"),
        (["web1"], "web1"),
        (["web1", "web2", "web3"], "web[1-3]"),
        (["web1", "web3"], "web[1,3]"),
        (["web3", "web1", "web2", "web1"], "web[1-3]"),
        ([f"web{n:03}" for n in range(1, 121)], "web[001-120]"),
        ([f"web{n}" for n in range(8, 13)], "web[8-12]"),
        (["web08", "web09", "web10"], "web[08-10]"),
        (["web9", "web09", "web10"], "web[9,09-10]"),
        (["web98", "web99", "web100"], "web[98-100]"),
        (["web098", "web99", "web100"], "web[99,098,100]"),
        (["db", "web1", "web2"], "db,web[1-2]"),
        (["web1.dc1.example.com", "web2.dc1.example.com"], "web[1-2].dc1.example.com"),
        (["rack1-node01", "rack1-node02", "rack2-node01", "rack2-node02"], "rack[1-2]-node[01-02]"),
        (["rack1-node1", "rack1-node2", "rack2-node1"], "rack1-node[1-2],rack2-node1"),
        (["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.0.1.2"], "10.0.[0-1].[1-2]"),
        (["web10", "web2", "app7"], "app7,web[2,10]"),
        (["a,b", "a[1]", "a b", "x\x1b[2J"], "'a b','a,b','a[1]','x\\x1b[2J'"),
        (["n" + "1" * 19, "n" + "1" * 18 + "2"], "n1111111111111111111,n1111111111111111112"),
    ],
)
def test_fold(names: list[str], folded: str) -> None:
    assert fold(names) == folded


_numbers = st.integers(0, 130).map(str) | st.integers(0, 130).map(lambda n: f"{n:03}")
_names = st.lists(st.sampled_from(["web", "db-", ".", "x"]) | _numbers, min_size=1, max_size=5).map("".join)


@given(st.sets(_names, max_size=60))
def test_unfolding_gives_the_names_again(names: set[str]) -> None:
    unfolded = unfold(fold(names))
    assert sorted(unfolded) == sorted(names)  # every name, and none twice


@given(st.sets(st.text(max_size=8), max_size=20))
def test_any_text_is_folded_into_one_safe_line(names: set[str]) -> None:
    folded = fold(names)
    assert folded.isprintable()


@given(st.integers(0, 10**9), st.integers(0, 300))
def test_a_run_folds_into_one_range(start: int, more: int) -> None:
    folded = fold(f"n{number}" for number in range(start, start + more + 1))
    assert folded == (f"n[{start}-{start + more}]" if more else f"n{start}")


def test_natural_order() -> None:
    names = ["web10", "web9", "web1-b", "web1-a", "web", "app", "10", "9", "web09"]
    assert sorted(names, key=natural_key) == ["9", "10", "app", "web", "web1-a", "web1-b", "web09", "web9", "web10"]
