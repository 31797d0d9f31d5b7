# Installs the package, which may be moved afterwards because no file contains an absolute path. It has two components,
# for separate packages: Runtime to run programs, Development to build them.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/PosemeshNode")
set(runtime COMPONENT PosemeshNode_Runtime)
set(development COMPONENT PosemeshNode_Development)

if(platform STREQUAL "Windows")
    install(PROGRAMS "${shared_library}" DESTINATION "${CMAKE_INSTALL_BINDIR}" ${runtime})
    install(FILES "${import_library}" DESTINATION "${CMAKE_INSTALL_LIBDIR}" ${development})
else()
    install(PROGRAMS "${shared_library}" DESTINATION "${CMAKE_INSTALL_LIBDIR}" ${runtime})
    # Symbolic links are installed as links.
    install(FILES "${library_dir}/${soname_link}"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}" ${runtime})
    install(FILES "${library_dir}/${cargo_library}" "${static_library}"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}" ${development})
endif()
# They must accompany the library, and programs that contain it.
install(FILES ../LICENSE ../core/THIRD-PARTY-LICENSES.txt
    DESTINATION "${CMAKE_INSTALL_DATADIR}/licenses/posemesh_node" ${runtime})
install(FILES ../include/posemesh_node.h ../include/posemesh_node.hpp
    DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" ${development})
# The Dockerfile of `deploy` builds from a clone.
install(FILES README.md DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/posemesh_node" ${development})
install(DIRECTORY examples DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/posemesh_node" ${development}
    PATTERN deploy EXCLUDE)

configure_package_config_file(cmake/PosemeshNodeConfig.cmake.in PosemeshNodeConfig.cmake
    INSTALL_DESTINATION "${package_dir}"
    PATH_VARS CMAKE_INSTALL_BINDIR CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR
    NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/PosemeshNodeConfigVersion.cmake"
    COMPATIBILITY SameMinorVersion)
install(FILES
    "${CMAKE_CURRENT_BINARY_DIR}/PosemeshNodeConfig.cmake"
    "${CMAKE_CURRENT_BINARY_DIR}/PosemeshNodeConfigVersion.cmake"
    "${CMAKE_CURRENT_BINARY_DIR}/PosemeshNodeTargets.cmake"
    DESTINATION "${package_dir}" ${development})

# The way from the .pc file up to the prefix: lib may be lib/x86_64-linux-gnu.
string(REGEX REPLACE "[^/]+" ".." prefix "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
configure_file(cmake/posemesh_node.pc.in posemesh_node.pc @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/posemesh_node.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig"
    ${development})
