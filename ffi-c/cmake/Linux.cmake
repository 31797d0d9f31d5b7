# The libraries for Linux: the shared one, with the links that its SONAME needs, and the static one.

set(shared_library "${library_dir}/libposemesh_node.so.${PROJECT_VERSION}")
set(static_library "${library_dir}/libposemesh_node.a")
set(libraries "${shared_library}" "${static_library}")
set(targets Posemesh::node Posemesh::node_static)

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
# Not every compiler for musl has an unwinder that it can link statically, so the archive has one of its own, that of Rust.
set(unwinder)
if(triple MATCHES "-musl")
    posemesh_node_rustc(sysroot --print sysroot)
    file(GLOB unwinder "${sysroot}/lib/rustlib/${triple}/lib/self-contained/libunwind.a")
endif()
set(object "${library_dir}/posemesh_node.o")
add_custom_command(
    OUTPUT "${static_library}"
    DEPENDS "${cargo_output}/libposemesh_node.a"
    COMMAND "${CMAKE_COMMAND}" -E make_directory "${library_dir}"
    COMMAND ${linker} -r --force-group-allocation --whole-archive "${cargo_output}/libposemesh_node.a"
            --no-whole-archive ${unwinder} -o "${object}"
    # Removes the standard library's bitcode, which only rustc uses and which confuses binutils plugins.
    COMMAND ${objcopy} --strip-debug --remove-section=.llvmbc --remove-section=.llvmcmd
            --wildcard "--keep-global-symbol=pmn_*" "${object}"
    COMMAND "${CMAKE_COMMAND}" -E remove -f "${static_library}"
    COMMAND "${CMAKE_AR}" qcs "${static_library}" "${object}"
    COMMAND "${CMAKE_COMMAND}" -E remove "${object}"
    VERBATIM)

# The system libraries that the static library needs, as rustc reports them: "-lpthread -lm ...". Compilers add the C
# library and the unwinder themselves, and only they know whether the static or the shared ones are right.
file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/none.rs" "")
posemesh_node_rustc(printed --print native-static-libs --crate-type staticlib --target "${triple}" ${rust_flags}
    -o "${CMAKE_CURRENT_BINARY_DIR}/none.a" "${CMAKE_CURRENT_BINARY_DIR}/none.rs")
string(REGEX REPLACE ".*native-static-libs: ([^\n]*).*" "\\1" system_libraries "${printed}")
string(REGEX REPLACE "-l(c|gcc_s|gcc_eh|unwind)( |$)" "" system_libraries "${system_libraries}")
if(triple MATCHES "-musl")
    # The unwinder looks for functions in a table that some linkers make only if they are asked to.
    string(APPEND system_libraries " -Wl,--eh-frame-hdr")
endif()
string(STRIP "${system_libraries}" system_libraries)
