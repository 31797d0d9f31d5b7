"""Libraries for macOS."""

from __future__ import annotations

import struct
from collections import defaultdict
from hashlib import sha256

import lief

# Names of Rust for processors.
PROCESSORS = {"ARM64": "aarch64", "X86_64": "x86_64"}
FLAT = "(any library)"


class Library:
    def __init__(self, content: bytes) -> None:
        self.content = content
        binaries = lief.MachO.parse(content)
        assert binaries and len(binaries) == 1
        self._binary = binaries.at(0)

    @property
    def processor(self) -> str:
        return PROCESSORS[self._binary.header.cpu_type.name]

    @property
    def oldest_system(self) -> tuple[int, ...]:
        return tuple(self._binary.build_version.minos)

    @property
    def install_name(self) -> str:
        kind = lief.MachO.LoadCommand.TYPE.ID_DYLIB
        [name] = (library.name for library in self._binary.libraries if library.command == kind)
        return str(name)

    @property
    def loaded(self) -> set[str]:
        return {str(library.name) for library in self._binary.libraries} - {self.install_name}

    @property
    def exports(self) -> set[str]:
        return {symbol.name.removeprefix("_") for symbol in self._binary.exported_symbols}

    @property
    def imports(self) -> dict[str, set[str]]:
        """What it must find when it is loaded, by the library that it is searched in. FLAT is every loaded one."""
        found = defaultdict(set)
        for symbol in self._binary.imported_symbols:
            library = symbol.binding_info.library if symbol.has_binding_info else None
            found[str(library.name) if library else FLAT].add(symbol.name.removeprefix("_"))
        return found

    @property
    def writable_and_executable(self) -> list[str]:
        write_and_execute = 2 | 4
        return [
            segment.name
            for segment in self._binary.segments
            if write_and_execute in (segment.init_protection & write_and_execute, segment.max_protection & write_and_execute)
        ]

    @property
    def has_debug_information(self) -> bool:
        """Or paths of object files, where debuggers look for it."""
        debugger = 0xE0
        return any(segment.name == "__DWARF" for segment in self._binary.segments) or any(
            symbol.raw_type & debugger for symbol in self._binary.symbols
        )

    def signature_holds(self) -> bool:
        """Whether there is a signature, and it is that of this content. arm64 loads nothing without one.

        https://github.com/apple-oss-distributions/xnu/blob/main/osfmk/kern/cs_blobs.h
        """
        if not self._binary.has_code_signature:
            return False
        signature = bytes(self._binary.code_signature.content)
        magic, _, count = struct.unpack_from(">3I", signature)
        assert magic == 0xFADE0CC0
        slots = dict(struct.unpack_from(">2I", signature, 12 + 8 * index) for index in range(count))
        directory = signature[slots[0] :]
        magic, _, _, _, hashes, _, _, pages, end, size, kind, _, page_bits = struct.unpack_from(">9I4B", directory)
        assert (magic, size, kind) == (0xFADE0C02, 32, 2)
        page_size = 1 << page_bits
        expected = [directory[hashes + size * page :][:size] for page in range(pages)]
        signed = self.content[:end]
        actual = [sha256(signed[start : start + page_size]).digest() for start in range(0, end, page_size)]
        return actual == expected and end == self._binary.code_signature.data_offset
