# The libraries for Windows: the DLL and its import library. No static library, because its symbols would clash with those
# of another Rust library in the same program: the tools that hide them know only the libraries of Linux.

set(shared_library "${library_dir}/posemesh_node.dll")
set(import_library "${library_dir}/libposemesh_node.dll.a")
set(libraries "${shared_library}" "${import_library}")
set(targets Posemesh::node)

add_custom_command(
    OUTPUT ${libraries}
    DEPENDS ${cargo_libraries}
    COMMAND "${CMAKE_COMMAND}" -E make_directory "${library_dir}"
    COMMAND "${CMAKE_COMMAND}" -E copy ${cargo_libraries} "${library_dir}"
    VERBATIM)
