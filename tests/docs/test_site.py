"""The site builds without a warning, every page is reached, and no page needs a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.site_pages import PAGES, site_links

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Strict: a broken link, a page outside of the navigation or a name in no docstring is an
    error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_document_is_a_page(site: Path):
    documents = {p.relative_to(ROOT / "docs") for p in (ROOT / "docs").rglob("*.md")}
    pages = {p.relative_to(site).with_suffix(".md") for p in site.rglob("*.html")}
    assert documents | {Path(p) for p in PAGES} <= pages


def test_no_page_loads_anything_from_elsewhere(site: Path):
    loading = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]*)\"|<link\b([^>]*)>")
    for page in site.rglob("*.html"):
        for source, link in loading.findall(page.read_text()):
            target = re.search(r'href="([^"]*)"', link)
            kind = re.search(r'rel="([^"]*)"', link)
            if kind is not None and kind[1] in ("canonical", "prev", "next"):
                continue
            address = source or (target[1] if target else "")
            assert not re.match(r"(?:[a-z]+:)?//", address), f"{page.name} loads {address}"


def test_the_first_page_is_the_readme_with_its_picture(site: Path):
    page = (site / "index.html").read_text()
    assert 'src="images/demo.png"' in page
    assert (site / "images" / "demo.png").is_file()
    assert 'href="own-data.html"' in page
    assert 'href="contributing.html"' in page


def test_the_reference_holds_every_public_name(site: Path):
    import fpga_gen

    page = (site / "reference.html").read_text()
    for name in set(fpga_gen.__all__) - {"FpgaGenError"}:
        assert f'.{name}"' in page, f"{name} is missing in docs/reference.md"


def test_links_become_links_of_the_site():
    text = site_links(
        "[a](docs/python.md#x) [b](host/README.md) [c](LICENSE) [d](https://x.org) [e](none.md)\n"
        "```\n[f](host/README.md)\n```\n",
        "index.md",
        lambda uri: uri in ("python.md", "host.md"),
    )
    assert text == (
        "[a](python.md#x) [b](host.md) c [d](https://x.org) [e](none.md)\n"
        "```\n[f](host/README.md)\n```\n"
    )
    text = site_links("![p](docs/images/demo.png)", "index.md", lambda uri: True)
    assert text == "![p](images/demo.png)"
    text = site_links("[m](../models/pretrained/README.md)", "figures.md", lambda uri: True)
    assert text == "[m](pretrained.md)"
