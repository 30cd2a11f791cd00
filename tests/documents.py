"""The project's documents as tests read them: code blocks, tables, headings, links, commands."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = tuple(
    sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
)
EXAMPLES = tuple(sorted((ROOT / "etc").rglob("*.toml")))
NVID = ROOT / ".venv" / "bin" / "nvid"

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: where it begins, its language ("" for none), its text."""

    file: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{name(self.file)}:{self.line}"


def name(file: Path) -> str:
    """A file as the project calls it."""
    return str(file.relative_to(ROOT))


def blocks(file: Path, language: str | None = None) -> list[Block]:
    """The fenced blocks of a document, all or those of one language."""
    text = file.read_text()
    found = [
        Block(
            file,
            text.count("\n", 0, match.start()) + 1,
            match[2],
            textwrap.dedent(match[3]),
        )
        for match in _BLOCK.finditer(text)
    ]
    return [each for each in found if language is None or each.language == language]


def all_blocks(language: str) -> list[Block]:
    """The blocks of one language in all documents."""
    return [each for file in DOCUMENTS for each in blocks(file, language)]


def prose(file: Path) -> str:
    """A document without its fenced blocks."""
    return _BLOCK.sub("", file.read_text())


def code(text: str) -> list[str]:
    """What stands between single backticks."""
    return _INLINE.findall(text)


def inline_code(file: Path) -> list[str]:
    """The same for a document's prose, tables included."""
    return code(prose(file))


def links(file: Path) -> list[str]:
    """The targets of a document's links."""
    return _LINK.findall(prose(file))


def anchors(file: Path) -> set[str]:
    """What a link can point to inside a document, as GitHub makes it of the headings."""
    headings = re.findall(r"^#+ (.+)$", prose(file), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


def section(file: Path, heading: str) -> str:
    """The prose below a heading, up to the next one of any level."""
    _, _, rest = prose(file).partition(f"# {heading}\n")
    assert rest, f"{name(file)} has no section {heading!r}"
    return re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The rows of every table in a text, without their headings."""
    found: list[list[str]] = []
    heading = True
    for line in text.splitlines():
        if not line.startswith("|"):
            heading = True
        elif re.fullmatch(r"[|\- ]+", line):
            heading = False
        elif not heading:
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line of nvid in the documents: where it stands, and its words after nvid."""
    for file in DOCUMENTS:
        typed = [line for block in blocks(file, "sh") for line in block.text.splitlines()]
        # Blocks of no language show output, in which a prompt marks what was typed.
        shown = [line for block in blocks(file, "") for line in block.text.splitlines()]
        prompted = re.findall(r"^\s*\w+\$ (.+)$", "\n".join(shown), re.MULTILINE)
        for text in [*typed, *prompted, *inline_code(file)]:
            match = re.match(r"(?:sudo )?nvid(?: (.*))?$", text)
            if match:
                words = (match[1] or "").removesuffix("&").partition("#")[0].split()
                yield f"{name(file)}: {text}", words
