"""Joins the parts of the documentation, and checks that its links lead somewhere and that Python's part is complete.

    docs.py SITE
"""

from __future__ import annotations

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import griffe

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://github.com/aukilabs/posemesh-node-registration/blob/main/"
PARTS = {
    "All languages": "index.html",
    "Rust": "rust/posemesh_node_registration/index.html",
    "Python": "python/index.html",
    "Node.js": "node/index.html",
    "C and C++": "c/index.html",
}
STYLE = (
    "position:fixed;right:0;bottom:0;z-index:99;padding:.3em .8em;background:#222;border-top-left-radius:.5em;"
    "font:13px/1.5 system-ui,sans-serif"
)


def join(site: Path) -> None:
    """Every page of every part gets links to the other parts, because each tool makes a site of its own."""
    (site / "index.html").write_text((ROOT / ".ci/docs.html").read_text())
    for page in site.glob("*/**/*.html"):
        text = page.read_text()
        up = "../" * (len(page.relative_to(site).parts) - 1)
        links = " · ".join(f'<a href="{up}{path}" style="color:#fff">{name}</a>' for name, path in PARTS.items())
        before, end, after = text.rpartition("</body>")
        if end:
            strip = f'<nav aria-label="Languages" style="{STYLE};color:#fff">{links}</nav>'
            page.write_text(before + strip + end + after)


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (name == "name" and tag == "a"):
                self.names.add(value)
            elif name == "src" or (name == "href" and tag != "base"):
                self.links.add(value)


@cache
def page(path: Path) -> Page:
    return Page(path.read_text())


def dead_links(site: Path) -> list[str]:
    dead = []
    for path in sorted(site.rglob("*.html")):
        for link in page(path).links:
            file, _, name = link.partition("#")
            if link.startswith(REPOSITORY):
                exists = (ROOT / file.removeprefix(REPOSITORY)).exists()
            elif link.startswith(("https:", "http:", "data:", "javascript:")) or path.is_relative_to(site / "rust"):
                # rustdoc checks links by itself, and repeats the documentation of other crates, whose links are dead.
                continue
            else:
                target = path.parent / unquote(file.partition("?")[0]) if file else path
                exists = target.is_file()
                if exists and name and target.suffix == ".html":
                    exists = unquote(name) in page(target).names
            if not exists:
                dead.append(f"{path.relative_to(site)}: dead link: {link}")
    return dead


def undocumented() -> list[str]:
    """The public items of the Python package that have no documentation."""
    package = griffe.load("posemesh_node", search_paths=[ROOT / "bindings-python/python"])

    def walk(item: griffe.Object | griffe.Alias) -> list[str]:
        found = [] if item.has_docstring else [f"{item.path}: no documentation"]
        bases = item.mro() if item.is_class else []
        # What takes the keyword arguments of a TypedDict describes them.
        if item.is_class and any(str(base) == "TypedDict" for each in [item, *bases] for base in each.bases):
            return found
        inherited = {name for base in bases for name in base.members}
        for name, member in item.members.items():
            if member.is_public and name not in inherited and not name.startswith("__"):
                found += walk(member)
        return found

    return walk(package)


def main() -> None:
    site = Path(sys.argv[1])
    join(site)
    problems = dead_links(site) + undocumented()
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
