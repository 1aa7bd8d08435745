"""Links between the texts of the repository that are no part of the site, which Sphinx looks at itself."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "contrib").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link.partition("#")[0]).exists()] == []


def test_pages_of_the_site_are_all_linked_from_the_readme_or_its_index() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("install", "operate", "migrate", "settings", "security"):
        assert f"docs/{name}.md" in readme
