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
# The names of systems are those of CMAKE_SYSTEM_NAME.
if(triple MATCHES "-linux-")
    set(platform Linux)
    set(targets_file UnixTargets.cmake)
    set(cargo_libraries libposemesh_node.so libposemesh_node.a)
elseif(triple MATCHES "-apple-darwin$")
    set(platform Darwin)
    set(targets_file UnixTargets.cmake)
    set(cargo_libraries libposemesh_node.dylib libposemesh_node.a)
elseif(triple MATCHES "-windows-gnu$")
    set(platform Windows)
    set(targets_file WindowsTargets.cmake)
    set(cargo_libraries posemesh_node.dll libposemesh_node.dll.a)
else()
    message(FATAL_ERROR "This package is for Linux, macOS and Windows. For ${triple}, run `cargo build --release "
        "-p posemesh-node-ffi --target ${triple}` and use the libraries that it leaves below target.")
endif()

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

list(TRANSFORM cargo_libraries PREPEND "${cargo_output}/")

# Always runs, because cargo knows what is out of date.
add_custom_target(posemesh_node_cargo
    COMMAND ${cargo} --locked --package posemesh-node-ffi
            --profile "${POSEMESH_NODE_CARGO_PROFILE}" ${cargo_target_argument}
            --target-dir "${POSEMESH_NODE_CARGO_TARGET_DIR}"
    BYPRODUCTS ${cargo_libraries}
    WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}"
    USES_TERMINAL
    VERBATIM)

set(library_dir "${CMAKE_CURRENT_BINARY_DIR}/lib")
include(cmake/${platform}.cmake)
add_custom_target(posemesh_node_libraries ALL DEPENDS ${libraries})
add_dependencies(posemesh_node_libraries posemesh_node_cargo)

set(POSEMESH_NODE_INCLUDE_DIR "${CMAKE_CURRENT_SOURCE_DIR}/../include")
set(POSEMESH_NODE_LIBRARY_DIR "${library_dir}")
set(POSEMESH_NODE_RUNTIME_DIR "${library_dir}")
configure_file(cmake/${targets_file}.in PosemeshNodeTargets.cmake @ONLY)
include("${CMAKE_CURRENT_BINARY_DIR}/PosemeshNodeTargets.cmake")
foreach(target ${targets})
    set_target_properties(${target} PROPERTIES IMPORTED_GLOBAL TRUE)
    add_dependencies(${target} posemesh_node_libraries)
endforeach()
