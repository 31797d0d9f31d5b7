# Builds with cargo, and gives the libraries the names that programs expect.

set(library_dir "${CMAKE_CURRENT_BINARY_DIR}/lib")
set(shared_library "${library_dir}/libposemesh_node.so.${PROJECT_VERSION}")
set(static_library "${library_dir}/libposemesh_node.a")

# cargo zigbuild accepts a glibc version after the target, which is not part of the directory name.
string(REGEX REPLACE "[.].*$" "" cargo_triple "${POSEMESH_NODE_CARGO_TARGET}")
string(REGEX REPLACE "^dev$" "debug" cargo_profile_dir "${POSEMESH_NODE_CARGO_PROFILE}")
set(cargo_target_argument)
if(POSEMESH_NODE_CARGO_TARGET)
    set(cargo_target_argument --target "${POSEMESH_NODE_CARGO_TARGET}")
endif()
get_filename_component(cargo_output "${POSEMESH_NODE_CARGO_TARGET_DIR}/${cargo_triple}/${cargo_profile_dir}" ABSOLUTE)

# Always runs, because cargo knows what is out of date.
add_custom_target(posemesh_node_cargo
    COMMAND ${POSEMESH_NODE_CARGO} --locked --package posemesh-node-ffi
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
set(object "${library_dir}/posemesh_node.o")
add_custom_command(
    OUTPUT "${static_library}"
    DEPENDS "${cargo_output}/libposemesh_node.a"
    COMMAND "${CMAKE_COMMAND}" -E make_directory "${library_dir}"
    COMMAND "${CMAKE_LINKER}" -r --force-group-allocation --whole-archive "${cargo_output}/libposemesh_node.a" -o "${object}"
    # Removes the standard library's bitcode, which only rustc uses and which confuses binutils plugins.
    COMMAND "${CMAKE_OBJCOPY}" --strip-debug --remove-section=.llvmbc --remove-section=.llvmcmd
            --wildcard "--keep-global-symbol=pmn_*" "${object}"
    COMMAND "${CMAKE_COMMAND}" -E remove -f "${static_library}"
    COMMAND "${CMAKE_AR}" qcs "${static_library}" "${object}"
    COMMAND "${CMAKE_COMMAND}" -E remove "${object}"
    VERBATIM)

add_custom_target(posemesh_node_libraries ALL DEPENDS "${shared_library}" "${static_library}")
add_dependencies(posemesh_node_libraries posemesh_node_cargo)

# The system libraries that the static library needs, as rustc reports them: "-lpthread -lm ...".
execute_process(
    COMMAND rustc --print native-static-libs --crate-type staticlib --crate-name none
            -o "${CMAKE_CURRENT_BINARY_DIR}/none.a" -
    INPUT_FILE /dev/null
    WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}"
    ERROR_VARIABLE printed
    RESULT_VARIABLE failed)
if(failed OR NOT printed MATCHES "native-static-libs: ([^\n]*)")
    message(FATAL_ERROR "rustc does not run; install Rust from https://rustup.rs: ${failed} ${printed}")
endif()
set(system_libraries "${CMAKE_MATCH_1}")

set(POSEMESH_NODE_INCLUDE_DIR "${CMAKE_CURRENT_SOURCE_DIR}/../include")
set(POSEMESH_NODE_LIBRARY_DIR "${library_dir}")
configure_file(cmake/PosemeshNodeTargets.cmake.in PosemeshNodeTargets.cmake @ONLY)
include("${CMAKE_CURRENT_BINARY_DIR}/PosemeshNodeTargets.cmake")
foreach(target Posemesh::node Posemesh::node_static)
    set_target_properties(${target} PROPERTIES IMPORTED_GLOBAL TRUE)
    add_dependencies(${target} posemesh_node_libraries)
endforeach()
