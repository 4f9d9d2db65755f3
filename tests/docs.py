"""Running the blocks of a page of documentation, in their order, as a reader would.

A block ```console has commands after `$ `, each with what it prints; ```python, ```javascript and
```go are programs, and what they print is in a ```text block right after them. `…` stands for any
text in a line; alone in a line, for any lines. A comment before a block says what is special:

    <!-- not run: why -->
    <!-- file: NAME -->                       the block is a file
    <!-- file: NAME, after what is there -->  the block is added to a file
"""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SERVER = "127.0.0.1:6379"
"""Where the blocks say that the server is."""

GO_PATH = Path("/usr/share/gocode")
"""Where Debian's packages have what Go programs import."""

_block = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """A block of a page."""

    language: str
    text: str
    note: str
    line: int
    output: str | None
    """What a program prints; None where nothing is said of it."""


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page that are something to run, or a file."""
    text = page.read_text()
    found = list(_block.finditer(text))
    answer = []
    for match, after in zip_longest(found, found[1:]):
        output = None
        if after and after["language"] == "text" and not text[match.end() : after.start()].strip():
            output = after["text"]
        if match["language"] != "text":
            line = text.count("\n", 0, match.start()) + 1
            answer.append(
                Block(match["language"], match["text"], match["note"] or "", line, output)
            )
    return answer


def commands(console: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console, and what it prints."""
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def fits(printed: str, pattern: str) -> bool:
    """Tell whether what was printed is what a page says."""
    lines = [re.escape(line) for line in pattern.rstrip().split("\n")]
    some = ["(.*\n)*?" if line == "…" else f"{line.replace('…', '.*')} *\n" for line in lines]
    return re.fullmatch("".join(some), f"{printed.rstrip()}\n") is not None


class Runner:
    """Runs blocks in a folder, on a server."""

    def __init__(self, folder: Path, port: int, variables: Mapping[str, str]) -> None:
        self._folder = folder
        self._server = f"127.0.0.1:{port}"
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        cli = bin_folder / "redis-cli"
        cli.write_text(f'#!/bin/sh\nexec {shutil.which("redis-cli")} -p {port} "$@"\n')
        cli.chmod(0o755)
        (folder / "node_modules").symlink_to(ROOT / "tests/node/node_modules")
        for name in ("rules.toml", "users.acl"):
            shutil.copy(ROOT / "config" / name, folder)
        self._variables = {**variables, "PATH": f"{bin_folder}:{variables['PATH']}"}

    def run(self, block: Block) -> Iterator[tuple[str, str, str | None]]:
        """Yield what is run of a block, what it printed, and what it should print."""
        text = block.text.replace(SERVER, self._server)
        if block.note.startswith("file: "):
            name, _, how = block.note.removeprefix("file: ").partition(", ")
            with (self._folder / name).open("a" if how else "w") as file:
                file.write(text)
        elif block.language == "console":
            for command, output in commands(text):
                yield command, self._printed("bash", "-c", command), output
        else:
            program, runs = PROGRAMS[block.language]
            (self._folder / program).write_text(text)
            yield program, self._printed(*runs, program), block.output

    def _printed(self, *command: str) -> str:
        ran = subprocess.run(
            command,
            cwd=self._folder,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        return ran.stdout


PROGRAMS = {
    "python": ("block.py", ["python"]),
    "javascript": ("block.mjs", ["node"]),
    "go": ("block.go", ["env", "GO111MODULE=off", f"GOPATH={GO_PATH}", "go", "run"]),
}


def why_not(block: Block) -> str | None:
    """Say why a block is not run here, None where it is."""
    if block.note.startswith("not run: "):
        return block.note
    if block.language == "javascript":
        has_it = shutil.which("node") and (ROOT / "tests/node/node_modules/ioredis").exists()
        return None if has_it else "not run: Node or ioredis is not there"
    if block.language == "go":
        has_it = shutil.which("go") and (GO_PATH / "src/github.com/gomodule/redigo").exists()
        return None if has_it else "not run: Go or redigo is not there"
    return None
