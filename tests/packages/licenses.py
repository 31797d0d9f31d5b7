"""core/THIRD-PARTY-LICENSES.txt: the licences of what is linked into what ships."""

from __future__ import annotations

import json
import re
from collections import defaultdict

from crates import ARTEFACTS, ROOT, STANDARD_LIBRARY, Crate

FILE = ROOT / "core/THIRD-PARTY-LICENSES.txt"

# Names of files with licence texts.
LICENSE_FILE = re.compile(r"licen[cs]e|copying|copyright|notice", re.IGNORECASE)
# Alternatives to a licence file with "MIT" in its name, in the same directory.
ALTERNATIVE = re.compile(r"apache|unlicense|zlib|bsd|isc", re.IGNORECASE)

HEADER = """\
Third-party licences

The packages of posemesh-node-registration contain parts of the following software. Not every package contains
all of it; the software bill of materials of each package lists what it contains. Where there is a choice of
licences and MIT is one of them, the MIT licence is used.

Some packages for Linux also contain functions of glibc (LGPL-2.1-or-later WITH GCC-exception-2.0-note), and
those for Windows functions of libgcc (GPL-3.0-or-later WITH GCC-exception-3.1). By these exceptions, programs
and libraries that are linked with them may be distributed on any terms.
"""

# What is no crate of others.
RUST = "the Rust standard library ((MIT OR Apache-2.0) AND Unicode-3.0)"
LIBUNWIND = "libunwind (Apache-2.0 WITH LLVM-exception)"
MINGW = "mingw-w64 (ZPL-2.1)"

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
    """The whole file. Each text appears once, with the names of those that it is the licence of."""
    users: dict[str, list[str]] = defaultdict(list)
    for crate in sorted({crate for package in (*ARTEFACTS.values(), STANDARD_LIBRARY) for crate in package.crates()}):
        for text in texts(crate):
            # Two versions of a crate may have the same.
            if (name := f"{crate.name} ({crate.license})") not in users[text]:
                users[text].append(name)
    [llvm] = (text for text, names in users.items() if names[0].startswith("compiler_builtins "))
    users[llvm].append(LIBUNWIND)
    users[MIT.format(holder="The Rust Project Contributors")].append(RUST)
    users[_of_no_crate("unicode")].append(RUST)
    users[_of_no_crate("mingw-w64")].append(MINGW)
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


def _of_no_crate(name: str) -> str:
    return _tidy((ROOT / "tests/packages" / f"{name}.txt").read_text(encoding="utf-8"))


def _tidy(text: str) -> str:
    lines = [line.rstrip() for line in text.expandtabs().splitlines()]
    return "\n".join(lines).strip("\n")


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
