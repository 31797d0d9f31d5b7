# Installs the library of a release, compiled for release in every configuration. Needs no Rust.
#
# A release has this directory as an archive, with the file SHA512SUMS of its other archives.

if(VCPKG_TARGET_IS_LINUX)
    set(system unknown-linux-gnu)
elseif(VCPKG_TARGET_IS_OSX)
    set(system apple-darwin)
elseif(VCPKG_TARGET_IS_MINGW)
    set(system pc-windows-gnu)
endif()
if(VCPKG_TARGET_ARCHITECTURE STREQUAL "arm64")
    set(processor aarch64)
elseif(VCPKG_TARGET_ARCHITECTURE STREQUAL "x64")
    set(processor x86_64)
endif()
set(archive "posemesh-node-c-${VERSION}-${processor}-${system}.tar.gz")

set(sums "${CMAKE_CURRENT_LIST_DIR}/SHA512SUMS")
if(NOT EXISTS "${sums}")
    message(FATAL_ERROR "There are no checksums: use the directory in posemesh-node-vcpkg-${VERSION}.tar.gz of a release.")
endif()
file(STRINGS "${sums}" line REGEX "  ${archive}$")
if(NOT line)
    message(FATAL_ERROR "This release has no library for ${TARGET_TRIPLET}: ${archive}")
endif()
string(REGEX REPLACE " .*" "" sum "${line}")

vcpkg_download_distfile(downloaded
    URLS "https://github.com/aukilabs/posemesh-node-registration/releases/download/v${VERSION}/${archive}"
    FILENAME "${archive}"
    SHA512 "${sum}")
vcpkg_extract_source_archive(package ARCHIVE "${downloaded}")

set(VCPKG_BUILD_TYPE release)
# The files for CMake may be moved together with the libraries, and are found where they are.
set(VCPKG_POLICY_SKIP_LIB_CMAKE_MERGE_CHECK enabled)
set(VCPKG_POLICY_SKIP_MISPLACED_CMAKE_FILES_CHECK enabled)
# With the library for Linux or macOS come both the static and the shared one.
file(GLOB directories LIST_DIRECTORIES true "${package}/*")
file(COPY ${directories} DESTINATION "${CURRENT_PACKAGES_DIR}")
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
set(licenses "${package}/share/licenses/posemesh_node")
vcpkg_install_copyright(FILE_LIST "${licenses}/LICENSE" "${licenses}/THIRD-PARTY-LICENSES.txt")
