"""A recipe for Conan 2. It builds the library from this clone, for Linux or, with mingw-w64, for Windows, and needs Rust:

conan create ffi-c

find_package(PosemeshNode) then finds the same targets as without Conan, for the generators CMakeToolchain and CMakeDeps.
"""

from pathlib import Path

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.build import cross_building
from conan.tools.cmake import CMake, CMakeToolchain
from conan.tools.files import copy, load

required_conan_version = ">=2.0"

# What Rust calls the systems and processors that Conan knows.
SYSTEMS = {"Linux": "unknown-linux-gnu", "Windows": "pc-windows-gnu"}
PROCESSORS = {"armv8": "aarch64", "x86_64": "x86_64"}


class PosemeshNode(ConanFile):
    name = "posemesh-node"
    description = "Registers a node with the posemesh discovery service, and keeps it registered"
    license = "MIT"
    url = "https://github.com/aukilabs/posemesh-node-registration"
    homepage = url
    topics = ("posemesh", "auki", "registration")
    settings = "os", "arch", "compiler", "build_type"
    package_type = "shared-library"  # and the static one

    @property
    def _clone(self):
        return Path(self.recipe_folder).parent

    def set_version(self):
        manifest = load(self, self._clone / "Cargo.toml")
        self.version = manifest.partition('\nversion = "')[2].partition('"')[0]

    def export_sources(self):
        # cargo reads the manifests of all members of the workspace to build one.
        bindings = (f"bindings-*/{part}" for part in ("Cargo.toml", "build.rs", "src/*"))
        for pattern in ("Cargo.*", "LICENSE", "core/*", "ffi-c/*", "include/*", "tests/dev-dds/*", *bindings):
            copy(self, pattern, self._clone, self.export_sources_folder)

    @property
    def _target(self):
        """Rust's name for what the package is for, or None."""
        system, processor = SYSTEMS.get(str(self.settings.os)), PROCESSORS.get(str(self.settings.arch))
        return f"{processor}-{system}" if processor and system else None

    def validate(self):
        settings = self.settings
        if not self._target or (settings.os == "Windows" and settings.compiler != "gcc"):
            raise ConanInvalidConfiguration(
                "this recipe is for Linux, and for Windows with mingw-w64, on x86_64 and armv8, and not for "
                f"{settings.os} with {settings.compiler} on {settings.arch}; see ffi-c/README.md"
            )

    def package_id(self):
        # A C ABI: the compiler makes no difference.
        del self.info.settings.compiler

    def generate(self):
        toolchain = CMakeToolchain(self)
        debug = self.settings.build_type == "Debug"
        toolchain.cache_variables["POSEMESH_NODE_CARGO_PROFILE"] = "dev" if debug else "release"
        toolchain.cache_variables["CMAKE_INSTALL_LIBDIR"] = "lib"
        # On Windows, rustc may compile for MSVC.
        if cross_building(self) or self.settings.os == "Windows":
            toolchain.cache_variables["POSEMESH_NODE_CARGO_TARGET"] = self._target
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure(build_script_folder="ffi-c")
        cmake.build()

    def package(self):
        CMake(self).install()

    def package_info(self):
        self.cpp_info.libs = ["posemesh_node"]
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.set_property("pkg_config_name", "posemesh_node")
        self.cpp_info.builddirs = ["lib/cmake/PosemeshNode"]
