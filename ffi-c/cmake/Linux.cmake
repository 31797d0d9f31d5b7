# The libraries for Linux.

set(cargo_library libposemesh_node.so)
set(shared_library_name "libposemesh_node.so.${PROJECT_VERSION}")
set(soname "libposemesh_node.so.${POSEMESH_NODE_ABI}")
set(soname_link "${soname}")
include(cmake/Unix.cmake)

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

if(triple MATCHES "-musl")
    # The unwinder looks for functions in a table that some linkers make only if they are asked to. Without it, a program that
    # was linked without `pkg-config --static` would abort where it should get an error.
    set(link_options " -Wl,--eh-frame-hdr")
    string(APPEND system_libraries "${link_options}")
    string(STRIP "${system_libraries}" system_libraries)
endif()
