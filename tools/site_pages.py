"""Hooks of mkdocs.yml: pages that lie outside of docs/, and links as they are on the site.

In the repository a link names a file. On the site it names the page that the file became, and a
file that is no page (a licence, a notebook) stands there by its name alone.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs"
PAGES = {  # page of the site: file of the repository
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
    "host.md": "host/README.md",
    "models.md": "models/README.md",
    "pretrained.md": "models/pretrained/README.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages from outside of docs/."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turns links to files into links to pages."""
    return site_links(markdown, page.file.src_uri, lambda uri: uri in files.src_uris)


def site_links(markdown: str, uri: str, is_page: Callable[[str], bool]) -> str:
    """The text of a page with its links as the site needs them; code is left alone.

    uri: of the page; is_page: whether the site has a file of this path.
    """
    source = PAGES.get(uri, f"{DOCS}/{uri}")

    def replaced(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, hash_, anchor = target.partition("#")
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        found = site_path(file)
        if found is None or not is_page(found):
            return text if (ROOT / file).exists() else match[0]
        return f"{mark}[{text}]({posixpath.relpath(found, posixpath.dirname(uri))}{hash_}{anchor})"

    parts = FENCE.split(markdown)
    return "".join(p if p.startswith("```") else LINK.sub(replaced, p) for p in parts)


def site_path(file: str) -> str | None:
    """Path on the site of a file of the repository; None if it is not on it."""
    if file == f"{DOCS}/decisions":
        return "decisions/0001-one-input-stream.md"
    for page, source in PAGES.items():
        if file == source:
            return page
    return file.removeprefix(f"{DOCS}/") if file.startswith(f"{DOCS}/") else None
