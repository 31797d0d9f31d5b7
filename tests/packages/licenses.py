"""core/THIRD-PARTY-LICENSES.txt: the licences of the crates that are linked into what ships."""

from __future__ import annotations

import json
import re
from collections import defaultdict

from crates import ARTEFACTS, ROOT, Crate, linked

FILE = ROOT / "core/THIRD-PARTY-LICENSES.txt"

# Names of files with licence texts.
LICENSE_FILE = re.compile(r"licen[cs]e|copying|copyright|notice", re.IGNORECASE)
# Alternatives to a licence file with "MIT" in its name, in the same directory.
ALTERNATIVE = re.compile(r"apache|unlicense|zlib|bsd|isc", re.IGNORECASE)

HEADER = """\
Third-party licences

The packages of posemesh-node-registration contain parts of the following software: the crates below, which
are linked into them, and the Rust standard library. Not every package contains every crate; the software
bill of materials of each package lists those that it contains. Where a crate offers a choice of licences
and MIT is one of them, it is used under the MIT licence.
"""

RUST = ("the Rust standard library", "The Rust Project Contributors")

MIT = """\
MIT License

Copyright (c) {holder}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without
limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the
Software, and to permit persons to whom the Software is furnished to do so, subject to the following
conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions
of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED
TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL
THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER
DEALINGS IN THE SOFTWARE."""


def document() -> str:
    """The whole file. Each text appears once, with the crates that it is the licence of."""
    users: dict[str, list[str]] = defaultdict(list)
    for crate in sorted({crate for artefact in ARTEFACTS for crate in linked(artefact)}):
        for text in texts(crate):
            users[text].append(f"{crate.name} ({crate.license})")
    users[MIT.format(holder=RUST[1])].append(f"{RUST[0]} (MIT OR Apache-2.0)")
    sections = (["=" * 100, *names, "-" * 100, "", text, ""] for text, names in users.items())
    return "\n".join([HEADER, *(line for section in sections for line in section)])


def texts(crate: Crate) -> list[str]:
    """The licence texts of a crate. All of them apply, if they are not alternatives to its MIT licence."""
    files = sorted(
        file
        for file in crate.directory.rglob("*")
        if file.is_file() and LICENSE_FILE.search(file.name) and file.suffix in ("", ".md", ".txt", ".httprouter")
    )
    with_mit = {file.parent for file in files if "MIT" in file.name}
    used = [file for file in files if file.parent not in with_mit or not ALTERNATIVE.search(file.name)]
    found = [_tidy(file.read_text(encoding="utf-8")) for file in used]
    return list(dict.fromkeys(found)) or [_without_a_file(crate)]


def _without_a_file(crate: Crate) -> str:
    """Some crates are published without the text of their licence."""
    if crate.license != "MIT":
        raise ValueError(f"{crate.name} {crate.version} has no file with its licence, {crate.license}")
    manifest = (crate.directory / "Cargo.toml").read_text(encoding="utf-8")
    found = re.search(r"^authors = (\[[^\]]*\])", manifest, re.MULTILINE)
    authors = json.loads(re.sub(r",\s*\]", "]", found[1])) if found else []
    # Without addresses.
    names = [re.sub(r"\s*<.*>", "", author) for author in authors]
    return MIT.format(holder=", ".join(names) or f"the authors of {crate.name}")


def _tidy(text: str) -> str:
    lines = [line.rstrip() for line in text.expandtabs().splitlines()]
    return "\n".join(lines).strip("\n")


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
