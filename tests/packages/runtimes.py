"""What the linkers of a release add to libraries, besides crates and what the system has."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crates import ROOT


def _ziglang() -> str:
    """The version of zig that a release is linked with."""
    [version] = re.findall(r"^ziglang==(.*)$", (ROOT / ".ci/requirements.txt").read_text(), re.MULTILINE)
    return str(version)


@dataclass(frozen=True)
class Runtime:
    name: str
    license: str
    # Where it comes from. Compilers of the system have different versions.
    purl: str
    targets: str

    @property
    def version(self) -> str | None:
        return self.purl.partition("#")[0].partition("@")[2] or None


RUNTIMES = (
    # The functions of newer versions that older ones do not have, such as stat().
    Runtime(
        "glibc",
        "LGPL-2.1-or-later WITH GCC-exception-2.0-note",
        f"pkg:pypi/ziglang@{_ziglang()}#ziglang/lib/libc/glibc",
        r".*-linux-gnu",
    ),
    Runtime(
        "libunwind",
        "Apache-2.0 WITH LLVM-exception",
        f"pkg:pypi/ziglang@{_ziglang()}#ziglang/lib/libunwind",
        r".*-linux-.*",
    ),
    Runtime("libgcc", "GPL-3.0-or-later WITH GCC-exception-3.1", "pkg:generic/libgcc", r".*-windows-gnu"),
    Runtime("mingw-w64", "ZPL-2.1", "pkg:generic/mingw-w64", r".*-windows-gnu"),
)


def linked(target: str) -> list[Runtime]:
    return [runtime for runtime in RUNTIMES if re.fullmatch(runtime.targets, target)]
