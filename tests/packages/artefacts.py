"""Checks what `.ci/release` has built, and writes its sizes to SIZES and to the standard output:

    tests/packages/artefacts.py DIRECTORY TARGET...
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import unittest
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import macho
import standard_library
from crates import ROOT, rust_version, version

# What a target is called in the names of wheels, and of packages for npm.
PLATFORMS = {
    "aarch64-apple-darwin": ("macosx_11_0_arm64", "darwin-arm64"),
    "aarch64-unknown-linux-gnu": ("manylinux_2_28_aarch64", "linux-arm64-gnu"),
    "aarch64-unknown-linux-musl": ("musllinux_1_2_aarch64", "linux-arm64-musl"),
    "x86_64-apple-darwin": ("macosx_11_0_x86_64", "darwin-x64"),
    "x86_64-pc-windows-gnu": ("win_amd64", "win32-x64"),
    "x86_64-unknown-linux-gnu": ("manylinux_2_28_x86_64", "linux-x64-gnu"),
    "x86_64-unknown-linux-musl": ("musllinux_1_2_x86_64", "linux-x64-musl"),
}
# The oldest glibc that a release runs with.
OLDEST_GLIBC = (2, 28)
# What a library may load. An image of Alpine has the C library and nothing else.
LOADED = {
    "gnu": r"lib(c|dl|m|pthread|rt)\.so\.\d|ld-linux-.*|libgcc_s\.so\.1",
    "musl": r"libc\.so|libc\.musl-.*",
}
# What a library for Windows may load: parts of Windows, and the stable interface of Python.
LOADED_BY_WINDOWS = {
    "advapi32.dll", "api-ms-win-core-synch-l1-2-0.dll", "bcrypt.dll", "bcryptprimitives.dll", "crypt32.dll",
    "kernel32.dll", "msvcrt.dll", "ntdll.dll", "python3.dll", "ws2_32.dll",
}  # fmt: skip
# The oldest macOS that a release runs with. What is newer than that would be an import that cannot be found there; the stubs in
# .ci/macos have none.
OLDEST_MACOS = (11, 0, 0)
LOADED_BY_MACOS = r"/usr/lib/libSystem\.B\.dylib|/System/Library/Frameworks/(\w+)\.framework/Versions/A/\1"
# What a library may export, by the directory of its package.
EXPORTED = {
    "c": r"pmn_\w+",
    "python": r"PyInit__native",
    "npm": r"napi_register_module_v1|node_api_module_get_api_version_v1",
}
# What the program that loads a library has for it.
HOST = {
    "c": r"(?!)",
    "python": r"_?Py",
    "npm": r"napi_|node_api_",
}
# Where this machine keeps sources, compilers and temporary files.
HOMES = {
    str(ROOT),
    sysconfig.get_path("purelib"),
    os.environ.get("CARGO_HOME", str(Path.home() / ".cargo")),
    os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup")),
    tempfile.gettempdir(),
}


@dataclass(frozen=True)
class File:
    """A file in a package."""

    package: Path
    name: str
    content: bytes

    def __str__(self) -> str:
        return f"{self.package.name}: {self.name}"


@dataclass(frozen=True)
class Dylib:
    """A library for macOS in a package."""

    file: File
    library: macho.Library

    @property
    def kind(self) -> str:
        return self.file.package.parent.name


@dataclass(frozen=True)
class Dll:
    """A library for Windows in a package, and what objdump says about it."""

    file: File
    path: Path

    def read(self) -> str:
        command = ["x86_64-w64-mingw32-objdump", "--private-headers", str(self.path)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class Library:
    """A shared library in a package, and what readelf says about it."""

    file: File
    path: Path

    @property
    def kind(self) -> str:
        return self.file.package.parent.name

    @property
    def libc(self) -> str:
        return "musl" if "musl" in self.file.package.name else "gnu"

    def read(self, *options: str) -> str:
        command = ["readelf", "--wide", *options, str(self.path)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def symbols(self, *, defined: bool) -> set[str]:
        """What it exports, or what it must find elsewhere when it is loaded."""
        rows = [line.split() for line in self.read("--dyn-syms").splitlines()]
        rows = [row for row in rows if len(row) > 7 and row[4] == "GLOBAL" and (row[6] != "UND") == defined]
        return {row[7] for row in rows}

    def build_id(self) -> str:
        return str(re.findall(r"Build ID: ([0-9a-f]{40})$", self.read("--notes"), re.MULTILINE)[0])


def files(package: Path) -> Iterator[File]:
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            yield from (File(package, name, wheel.read(name)) for name in wheel.namelist())
    else:
        with tarfile.open(package) as archive:
            for member in archive:
                if member.isfile() and (content := archive.extractfile(member)):
                    yield File(package, member.name, content.read())


def expected(targets: list[str]) -> set[str]:
    """Patterns for the names of what a release consists of."""
    here = version()
    names = {
        f"c/posemesh-node-vcpkg-{here}.tar.gz",
        f"crate/posemesh-node-registration-{here}.crate",
        f"npm/posemesh-node-{here}.tgz",
        f"python/posemesh_node-{here}.tar.gz",
    }
    for target in targets:
        wheel, addon = PLATFORMS[target]
        names |= {
            f"c/posemesh-node-c-{here}-{target}.tar.gz",
            f"npm/posemesh-node-{addon}-{here}.tgz",
            f"python/posemesh_node-{here}-*-{wheel}.whl",
        }
        if "-linux-" in target:
            names.add(f"symbols/posemesh-node-symbols-{here}-{target}.tar.gz")
    return names


class Artefacts(unittest.TestCase):
    directory: Path
    targets: list[str]
    packages: list[Path]
    libraries: list[Library]
    dlls: list[Dll]
    dylibs: list[Dylib]
    # By build id.
    symbols: dict[str, File]

    @classmethod
    def setUpClass(cls) -> None:
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.packages = sorted(cls.directory.glob("*/*"))
        cls.libraries, cls.dlls, cls.dylibs, cls.symbols = [], [], [], {}
        for package in cls.packages:
            for file in files(package):
                if package.parent.name == "symbols":
                    cls.symbols[file.name.partition(".build-id/")[2].replace("/", "").removesuffix(".debug")] = file
                elif file.content.startswith(b"\x7fELF"):
                    path = Path(temporary.name, str(len(cls.libraries)))
                    path.write_bytes(file.content)
                    cls.libraries.append(Library(file, path))
                elif file.content.startswith(b"MZ"):
                    path = Path(temporary.name, f"{len(cls.dlls)}.dll")
                    path.write_bytes(file.content)
                    cls.dlls.append(Dll(file, path))
                elif file.content.startswith(b"\xcf\xfa\xed\xfe"):
                    cls.dylibs.append(Dylib(file, macho.Library(file.content)))

    def test_each_target_has_all_its_packages(self) -> None:
        for name in expected(self.targets):
            with self.subTest(name):
                self.assertEqual(len(list(self.directory.glob(name))), 1)

    def test_packages_are_those_of_targets(self) -> None:
        known = {path for name in expected(list(PLATFORMS)) for path in self.directory.glob(name)}
        self.assertEqual(set(self.packages) - known, set())

    def test_each_package_of_a_target_has_one_library(self) -> None:
        compiled = [library.file.package for library in (*self.libraries, *self.dlls, *self.dylibs)]
        self.assertEqual(len(compiled), len(set(compiled)))
        for target in self.targets:
            for name in (target, *PLATFORMS[target]):
                with self.subTest(name):
                    self.assertTrue([package for package in compiled if name in package.name])

    def test_libraries_are_hardened(self) -> None:
        for library in self.libraries:
            with self.subTest(str(library.file)):
                segments, dynamic = library.read("--segments"), library.read("--dynamic")
                self.assertIn("GNU_RELRO", segments)
                self.assertRegex(dynamic, r"BIND_NOW|FLAGS.*\bNOW\b")
                # Neither the stack nor anything else that can be written is executable.
                self.assertRegex(segments, r"GNU_STACK .* RW +0")
                self.assertNotRegex(segments, r"\bRWE\b")
                self.assertNotIn("TEXTREL", dynamic)
                # The C code of ring has stack canaries.
                self.assertIn("__stack_chk_fail", {name.split("@")[0] for name in library.symbols(defined=False)})

    def test_libraries_export_what_is_loaded_from_them_and_nothing_else(self) -> None:
        for library in self.libraries:
            with self.subTest(str(library.file)):
                names = library.symbols(defined=True)
                self.assertTrue(names)
                self.assertEqual({name for name in names if not re.fullmatch(EXPORTED[library.kind], name)}, set())

    def test_libraries_load_on_the_systems_that_they_are_for(self) -> None:
        for library in self.libraries:
            with self.subTest(str(library.file)):
                loaded = re.findall(r"\(NEEDED\).*\[(.*)\]", library.read("--dynamic"))
                self.assertEqual([name for name in loaded if not re.fullmatch(LOADED[library.libc], name)], [])
                versions = re.findall(r"Name: GLIBC_(\d+)\.(\d+)", library.read("--version-info"))
                if library.libc == "musl":
                    self.assertEqual(versions, [])
                else:
                    self.assertLessEqual(max((int(major), int(minor)) for major, minor in versions), OLDEST_GLIBC)
                    # What the oldest glibc does not have is linked without a version, and cannot be loaded there.
                    names = library.symbols(defined=False)
                    host = HOST[library.kind]
                    newer = {name for name in names if "@GLIBC_" not in name and not re.match(host, name)}
                    self.assertEqual(newer, set())

    def test_dlls_are_hardened_export_what_is_loaded_from_them_and_load_on_every_windows(self) -> None:
        kinds = sorted(dll.file.package.parent.name for dll in self.dlls)
        self.assertEqual(kinds, ["c", "npm", "python"] if kinds else [])
        for dll in self.dlls:
            with self.subTest(str(dll.file)):
                headers = dll.read()
                for flag in ("HIGH_ENTROPY_VA", "DYNAMIC_BASE", "NX_COMPAT", "symbols stripped"):
                    self.assertTrue(flag in headers, flag)
                loaded = {name.lower() for name in re.findall(r"DLL Name: (.*)", headers)}
                self.assertEqual(loaded - LOADED_BY_WINDOWS, set())
                # Newer versions of objdump add the ordinal and the address.
                entry = r"^\t\[ *\d+\] +(?:\+base\[ *\d+\] +(?:[0-9a-f]+ )?)?(\w+)$"
                exports = re.findall(entry, headers, re.MULTILINE)
                self.assertTrue(exports)
                expected = EXPORTED[dll.file.package.parent.name]
                self.assertEqual([name for name in exports if not re.fullmatch(expected, name)], [])

    def test_dylibs_are_for_the_processor_of_their_package(self) -> None:
        for dylib in self.dylibs:
            with self.subTest(str(dylib.file)):
                target = f"{dylib.library.processor}-apple-darwin"
                name = dylib.file.package.name
                self.assertTrue([part for part in (target, *PLATFORMS[target]) if part in name])

    def test_dylibs_are_hardened_and_signed(self) -> None:
        for dylib in self.dylibs:
            with self.subTest(str(dylib.file)):
                library = dylib.library
                self.assertEqual(library.writable_and_executable, [])
                self.assertIn("__stack_chk_fail", library.imports["/usr/lib/libSystem.B.dylib"])
                self.assertFalse(library.has_debug_information)
                self.assertTrue(library.signature_holds())

    def test_dylibs_export_what_is_loaded_from_them_and_nothing_else(self) -> None:
        for dylib in self.dylibs:
            with self.subTest(str(dylib.file)):
                exports = dylib.library.exports
                self.assertTrue(exports)
                self.assertEqual({name for name in exports if not re.fullmatch(EXPORTED[dylib.kind], name)}, set())
                self.assertTrue(dylib.library.install_name.startswith("@rpath/"))
                if dylib.kind == "c":
                    # Its name is that of a link to the file.
                    self.assertRegex(dylib.library.install_name, r"^@rpath/libposemesh_node\.\d+\.dylib$")

    def test_dylibs_load_on_the_systems_that_they_are_for(self) -> None:
        for dylib in self.dylibs:
            with self.subTest(str(dylib.file)):
                library = dylib.library
                self.assertLessEqual(library.oldest_system, OLDEST_MACOS)
                self.assertEqual({name for name in library.loaded if not re.fullmatch(LOADED_BY_MACOS, name)}, set())
                # Only the program that loads the library is not named.
                unnamed = library.imports[macho.FLAT]
                self.assertEqual({name for name in unnamed if not re.match(HOST[dylib.kind], name)}, set())

    def test_debuggers_find_symbols_by_build_id(self) -> None:
        for library in self.libraries:
            with self.subTest(str(library.file)):
                self.assertNotRegex(library.read("--sections"), r" \.(symtab|debug_\w+) ")
                self.assertIn(b".debug_line", self.symbols[library.build_id()].content)
        self.assertEqual(len(self.symbols), len(self.libraries))

    def test_bills_of_materials_name_what_debug_information_names(self) -> None:
        if standard_library.installed_version() != rust_version():
            self.skipTest(f"releases are built with Rust {rust_version()}")
        for library in self.libraries:
            with self.subTest(str(library.file)):
                [bill] = (file for file in files(library.file.package) if file.name.endswith(".cdx.json"))
                components = json.loads(bill.content)["components"]
                named = {(component["name"], component.get("version", "")) for component in components}
                symbols = self.symbols[library.build_id()].content
                linked = standard_library.sources(symbols)
                self.assertIn("gimli", dict(linked))
                self.assertEqual(linked - named, set())
                # Parts of zig, except its headers.
                parts = {name.decode() for name in re.findall(rb"/zig/lib/(?:libc/(?!include))?([\w-]+)", symbols)}
                self.assertIn("libunwind", parts)
                self.assertEqual(parts - {"include", "libc"} - set(dict(named)), set())

    def test_nothing_names_a_path_of_this_machine(self) -> None:
        for package in self.packages:
            for file in files(package):
                for home in HOMES:
                    with self.subTest(str(file), home=home):
                        # Or the directory itself, as text that ends there.
                        found = re.search(re.escape(home.encode()) + rb"[/\0]", file.content)
                        self.assertIsNone(found)

    def test_packages_have_licences(self) -> None:
        for package in self.packages:
            with self.subTest(package.name):
                names = {Path(file.name).name for file in files(package)}
                self.assertTrue(package.parent.name == "symbols" or "LICENSE" in names)
        for library in [*self.libraries, *self.dlls, *self.dylibs]:
            with self.subTest(str(library.file)):
                names = {Path(file.name).name for file in files(library.file.package)}
                self.assertTrue({"LICENSE", "THIRD-PARTY-LICENSES.txt"} <= names)
                self.assertTrue({"posemesh-node.cdx.json", "posemesh_node.cdx.json"} & names)


def sizes(directory: Path) -> str:
    """A table for people: what is downloaded, and what that is when unpacked."""
    rows = [("artefact", "bytes", "unpacked")]
    for package in sorted(directory.glob("*/*")):
        unpacked = sum(len(file.content) for file in files(package))
        rows.append((str(package.relative_to(directory)), f"{package.stat().st_size:,}", f"{unpacked:,}"))
    width = max(len(row[0]) for row in rows)
    return "".join(f"{name:{width}} {size:>12} {unpacked:>12}\n" for name, size, unpacked in rows)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    Artefacts.directory, Artefacts.targets = Path(sys.argv[1]), sys.argv[2:]
    del sys.argv[1:]
    program = unittest.main(exit=False, verbosity=2)
    if not program.result.wasSuccessful():
        sys.exit(1)
    table = sizes(Artefacts.directory)
    (Artefacts.directory / "SIZES").write_text(table)
    print(table, end="")
