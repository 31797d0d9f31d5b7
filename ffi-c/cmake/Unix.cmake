# What the libraries for Linux and macOS have in common: the shared one, with the links that its SONAME needs, and what the
# static one needs. The including file sets the names of the shared one, and makes the static one.

set(shared_library "${library_dir}/${shared_library_name}")
set(static_library "${library_dir}/libposemesh_node.a")
set(libraries "${shared_library}" "${static_library}")
set(targets Posemesh::node Posemesh::node_static)

add_custom_command(
    OUTPUT "${shared_library}"
    DEPENDS "${cargo_output}/${cargo_library}"
    COMMAND "${CMAKE_COMMAND}" -E make_directory "${library_dir}"
    COMMAND "${CMAKE_COMMAND}" -E copy "${cargo_output}/${cargo_library}" "${shared_library}"
    COMMAND "${CMAKE_COMMAND}" -E create_symlink "${shared_library_name}" "${library_dir}/${soname_link}"
    COMMAND "${CMAKE_COMMAND}" -E create_symlink "${soname_link}" "${library_dir}/${cargo_library}"
    VERBATIM)

set(object "${library_dir}/posemesh_node.o")

# The system libraries that the static library needs, as rustc reports them: "-lpthread -lm ...". Compilers add the C
# library and the unwinder themselves, and only they know whether the static or the shared ones are right.
file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/none.rs" "")
posemesh_node_rustc(printed --print native-static-libs --crate-type staticlib --target "${triple}" ${rust_flags}
    -o "${CMAKE_CURRENT_BINARY_DIR}/none.a" "${CMAKE_CURRENT_BINARY_DIR}/none.rs")
string(REGEX REPLACE ".*native-static-libs: ([^\n]*).*" "\\1" system_libraries "${printed}")
string(REGEX REPLACE "-l(c|gcc_s|gcc_eh|unwind)( |$)" "" system_libraries "${system_libraries}")
string(STRIP "${system_libraries}" system_libraries)
