# Builds with cargo, and gives the libraries the names that programs expect.

# What `rustc` prints when it is run with these arguments, on its standard output and standard error.
function(posemesh_node_rustc variable)
    execute_process(
        COMMAND rustc ${ARGN}
        WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}"
        OUTPUT_VARIABLE printed
        ERROR_VARIABLE printed
        RESULT_VARIABLE failed
        OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(failed)
        message(FATAL_ERROR "rustc failed; install Rust from https://rustup.rs: ${failed} ${printed}")
    endif()
    set(${variable} "${printed}" PARENT_SCOPE)
endfunction()

posemesh_node_rustc(printed --version --verbose)
string(REGEX REPLACE ".*host: ([^\n]*).*" "\\1" host_triple "${printed}")

# cargo zigbuild accepts a glibc version after the target, which is not part of the directory name.
string(REGEX REPLACE "[.].*$" "" cargo_triple "${POSEMESH_NODE_CARGO_TARGET}")
set(triple "${cargo_triple}")
if(NOT triple)
    set(triple "${host_triple}")
endif()
if(NOT triple MATCHES "-linux-")
    message(FATAL_ERROR "This package is for Linux. For ${triple}, run `cargo build --release -p posemesh-node-ffi "
        "--target ${triple}` and use the libraries that it leaves below target.")
endif()

set(library_dir "${CMAKE_CURRENT_BINARY_DIR}/lib")
set(shared_library "${library_dir}/libposemesh_node.so.${PROJECT_VERSION}")
set(static_library "${library_dir}/libposemesh_node.a")

string(REGEX REPLACE "^dev$" "debug" cargo_profile_dir "${POSEMESH_NODE_CARGO_PROFILE}")
set(cargo_target_argument)
if(POSEMESH_NODE_CARGO_TARGET)
    set(cargo_target_argument --target "${POSEMESH_NODE_CARGO_TARGET}")
endif()
set(cargo ${POSEMESH_NODE_CARGO})
set(rust_flags)
if(triple MATCHES "-musl")
    # Without it, targets with musl have no shared libraries.
    set(rust_flags -Ctarget-feature=-crt-static)
    set(cargo "${CMAKE_COMMAND}" -E env "RUSTFLAGS=$ENV{RUSTFLAGS} ${rust_flags}" ${cargo})
endif()
get_filename_component(cargo_output "${POSEMESH_NODE_CARGO_TARGET_DIR}/${cargo_triple}/${cargo_profile_dir}" ABSOLUTE)

# Always runs, because cargo knows what is out of date.
add_custom_target(posemesh_node_cargo
    COMMAND ${cargo} --locked --package posemesh-node-ffi
            --profile "${POSEMESH_NODE_CARGO_PROFILE}" ${cargo_target_argument}
            --target-dir "${POSEMESH_NODE_CARGO_TARGET_DIR}"
    BYPRODUCTS "${cargo_output}/libposemesh_node.so" "${cargo_output}/libposemesh_node.a"
    WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}"
    USES_TERMINAL
    VERBATIM)

add_custom_command(
    OUTPUT "${shared_library}"
    DEPENDS "${cargo_output}/libposemesh_node.so"
    COMMAND "${CMAKE_COMMAND}" -E make_directory "${library_dir}"
    COMMAND "${CMAKE_COMMAND}" -E copy "${cargo_output}/libposemesh_node.so" "${shared_library}"
    COMMAND "${CMAKE_COMMAND}" -E create_symlink
            "libposemesh_node.so.${PROJECT_VERSION}" "${library_dir}/libposemesh_node.so.${POSEMESH_NODE_ABI}"
    COMMAND "${CMAKE_COMMAND}" -E create_symlink
            "libposemesh_node.so.${POSEMESH_NODE_ABI}" "${library_dir}/libposemesh_node.so"
    VERBATIM)

# Rust puts its whole standard library into the archive, and its symbols would clash with those of another Rust library
# in the same program. Linked into one object that exports only pmn_..., it does not clash.
#
# The binary tools of this machine may know no other target than its own. Those that come with rustc know all.
set(linker "${CMAKE_LINKER}")
set(objcopy "${CMAKE_OBJCOPY}")
if(cargo_triple AND NOT CMAKE_CROSSCOMPILING)
    posemesh_node_rustc(sysroot --print sysroot)
    set(rust_tools "${sysroot}/lib/rustlib/${host_triple}/bin")
    if(EXISTS "${rust_tools}/rust-lld" AND EXISTS "${rust_tools}/rust-objcopy")
        set(linker "${rust_tools}/rust-lld" -flavor gnu)
        # It looks for LLVM's library in the wrong directory.
        set(objcopy "${CMAKE_COMMAND}" -E env "LD_LIBRARY_PATH=${sysroot}/lib" "${rust_tools}/rust-objcopy")
    endif()
endif()
set(object "${library_dir}/posemesh_node.o")
add_custom_command(
    OUTPUT "${static_library}"
    DEPENDS "${cargo_output}/libposemesh_node.a"
    COMMAND "${CMAKE_COMMAND}" -E make_directory "${library_dir}"
    COMMAND ${linker} -r --force-group-allocation --whole-archive "${cargo_output}/libposemesh_node.a" -o "${object}"
    # Removes the standard library's bitcode, which only rustc uses and which confuses binutils plugins.
    COMMAND ${objcopy} --strip-debug --remove-section=.llvmbc --remove-section=.llvmcmd
            --wildcard "--keep-global-symbol=pmn_*" "${object}"
    COMMAND "${CMAKE_COMMAND}" -E remove -f "${static_library}"
    COMMAND "${CMAKE_AR}" qcs "${static_library}" "${object}"
    COMMAND "${CMAKE_COMMAND}" -E remove "${object}"
    VERBATIM)

add_custom_target(posemesh_node_libraries ALL DEPENDS "${shared_library}" "${static_library}")
add_dependencies(posemesh_node_libraries posemesh_node_cargo)

# The system libraries that the static library needs, as rustc reports them: "-lpthread -lm ...". Compilers add the C
# library and the unwinder themselves, and only they know whether the static or the shared ones are right.
file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/none.rs" "")
posemesh_node_rustc(printed --print native-static-libs --crate-type staticlib --target "${triple}" ${rust_flags}
    -o "${CMAKE_CURRENT_BINARY_DIR}/none.a" "${CMAKE_CURRENT_BINARY_DIR}/none.rs")
string(REGEX REPLACE ".*native-static-libs: ([^\n]*).*" "\\1" system_libraries "${printed}")
string(REGEX REPLACE "-l(c|gcc_s|gcc_eh|unwind)( |$)" "" system_libraries "${system_libraries}")
string(STRIP "${system_libraries}" system_libraries)

set(POSEMESH_NODE_INCLUDE_DIR "${CMAKE_CURRENT_SOURCE_DIR}/../include")
set(POSEMESH_NODE_LIBRARY_DIR "${library_dir}")
configure_file(cmake/PosemeshNodeTargets.cmake.in PosemeshNodeTargets.cmake @ONLY)
include("${CMAKE_CURRENT_BINARY_DIR}/PosemeshNodeTargets.cmake")
foreach(target Posemesh::node Posemesh::node_static)
    set_target_properties(${target} PROPERTIES IMPORTED_GLOBAL TRUE)
    add_dependencies(${target} posemesh_node_libraries)
endforeach()
