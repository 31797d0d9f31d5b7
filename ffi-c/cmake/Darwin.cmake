# The libraries for macOS, built there or on Linux.

set(cargo_library libposemesh_node.dylib)
set(shared_library_name "libposemesh_node.${PROJECT_VERSION}.dylib")
set(soname_link "libposemesh_node.${POSEMESH_NODE_ABI}.dylib")
set(soname "@rpath/${soname_link}")
include(cmake/Unix.cmake)
# rustc reports only what its standard library needs. All of these libraries are parts of libSystem.
string(REGEX REPLACE "-l(System|m)( |$)" "" system_libraries "${system_libraries}")
string(STRIP "${system_libraries} -framework CoreFoundation -framework Security -framework SystemConfiguration"
    system_libraries)

# One object that exports only pmn_..., as for Linux.
if(CMAKE_HOST_APPLE)
    set(ar "${CMAKE_AR}")
    set(link_object "${CMAKE_LINKER}" -r -exported_symbol "_pmn_*" -force_load "${cargo_output}/libposemesh_node.a")
    set(hide_symbols "${CMAKE_COMMAND}" -E true)
else()
    # The linker that comes with rustc cannot link objects for macOS into one, but zig can. Without a second file, it
    # only copies the first.
    set(ar python3 -m ziglang ar)
    set(empty "${CMAKE_CURRENT_BINARY_DIR}/empty.c")
    file(WRITE "${empty}" "")
    string(REGEX REPLACE "-.*" "" processor "${triple}")
    set(link_object python3 -m ziglang cc -target "${processor}-macos.$ENV{MACOSX_DEPLOYMENT_TARGET}" -nostdlib -r
        "${empty}" "-Wl,-force_load,${cargo_output}/libposemesh_node.a")
    posemesh_node_rustc(sysroot --print sysroot)
    set(hide_symbols "${CMAKE_COMMAND}" -E env "LD_LIBRARY_PATH=${sysroot}/lib"
        "${sysroot}/lib/rustlib/${host_triple}/bin/rust-objcopy" --strip-debug
        --remove-section=__LLVM,__bitcode --remove-section=__LLVM,__cmdline
        --wildcard "--keep-global-symbol=_pmn_*" "${object}")
endif()
add_custom_command(
    OUTPUT "${static_library}"
    DEPENDS "${cargo_output}/libposemesh_node.a"
    COMMAND "${CMAKE_COMMAND}" -E make_directory "${library_dir}"
    COMMAND ${link_object} -o "${object}"
    COMMAND ${hide_symbols}
    COMMAND "${CMAKE_COMMAND}" -E remove -f "${static_library}"
    COMMAND ${ar} qcs "${static_library}" "${object}"
    COMMAND "${CMAKE_COMMAND}" -E remove "${object}"
    VERBATIM)
