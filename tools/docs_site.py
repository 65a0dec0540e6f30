"""Write the sources of the documentation site into a directory, from which zensical builds it.

Documents link to each other, and to source files, by their places in the repository, so that the links work where the
repository is read. This turns each link to its place on the site: a document to its page, a module to its page of the
API reference. A link to another file of the repository becomes plain text. A link to nothing stays, and the build
refuses it. A path in code font becomes a link if the site has a page for it.
"""

from __future__ import annotations

import inspect
import posixpath
import re
import shutil
import sys
from pathlib import Path

import p2pannex

ROOT = Path(__file__).parent.parent
API = "reference/api"
DOCUMENTS = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "bench/*.md",
    "docs/**/*.md",
    "examples/*.md",
    "protocol-spec/**/*.md",
]

SECTIONS = ["tutorial", "how-to", "reference", "explanation", "decisions", "protocol-spec"]
"""The folders of the site that come first, in this order."""

LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")

PATH = re.compile(r"(?<!\[)`(?P<path>(?:\w[\w-]*/)[\w./-]+)`")


def paths(pattern: str) -> list[str]:
    """The files of the repository that match, each by its place in the repository."""
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))


def modules() -> list[str]:
    """The paths of all modules but those of the two programs."""
    return [path for path in paths("p2pannex/**/*.py") if not path.startswith("p2pannex/cli/")]


def dotted(path: str) -> str:
    """The name of the module at a path."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def pages() -> dict[str, str]:
    """Paths in the repository, and of the pages made of them."""
    found = {path: path.removeprefix("docs/") for pattern in DOCUMENTS for path in paths(pattern)}
    for path in modules():
        found[path] = f"{API}/{path.removesuffix('.py').replace('__init__', 'index')}.md"
    return found


def on_site(markdown: str, path: str, places: dict[str, str]) -> str:
    """The document at `path`, with links that are right on the site."""

    def link(text: str, target: str, anchor: str = "") -> str:
        return f"[{text}]({posixpath.relpath(places[target], posixpath.dirname(places[path]) or '.')}{anchor})"

    def turned(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match["target"]))
        for candidate in (target, f"{target}/README.md", f"{target}/__init__.py"):
            if candidate in places:
                return link(match["text"], candidate, match["anchor"] or "")
        return match["text"] if (ROOT / target).exists() else match[0]

    def linked(match: re.Match[str]) -> str:
        return link(match[0], match["path"]) if match["path"] in places else match[0]

    return PATH.sub(linked, LINK.sub(turned, markdown))


def public_names() -> str:
    """The page of what `p2pannex` itself has."""
    lines = ["# p2pannex", "", str(p2pannex.__doc__), "", "| name | |", "| --- | --- |"]
    for name in p2pannex.__all__:
        thing = getattr(p2pannex, name)
        summary = inspect.cleandoc(thing.__doc__).partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
        lines.append(f"| [`{name}`][{thing.__module__}.{name}] | {summary} |")
    return "\n".join(lines) + "\n"


def navigation(places: list[str]) -> str:
    """The site's menu: first its pages, then its folders. Within a folder zensical sorts by file name."""
    top = [place for place in places if "/" not in place and place != "index.md"]
    folders = sorted({place.partition("/")[0] for place in places if "/" in place})
    folders.sort(key=lambda folder: SECTIONS.index(folder) if folder in SECTIONS else len(SECTIONS))
    lines = ["[p2pannex](index.md)", *top, *(f"[{folder.capitalize()}]({folder}/)" for folder in folders)]
    return "".join(f"* {line}\n" if line.startswith("[") else f"* [{title(line)}]({line})\n" for line in lines)


def title(place: str) -> str:
    """What the menu calls a page that lies in no folder."""
    return place.removesuffix(".md").replace("-", " ").capitalize()


def write(target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    places = pages()
    for path, place in places.items():
        if path == "p2pannex/__init__.py":
            text = public_names()
        elif path.endswith(".py"):
            text = f"# {dotted(path)}\n\n::: {dotted(path)}\n"
        else:
            text = on_site((ROOT / path).read_text(), path, places)
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        (target / place).write_text(text)
    (target / "SUMMARY.md").write_text(navigation(sorted(places.values())))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
