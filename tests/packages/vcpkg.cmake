# Runs the port as vcpkg does, with the archives of a release in place of a download:
#
#     cmake -DPORT_DIR=… -DRELEASE=… -DCURRENT_PACKAGES_DIR=… -DVCPKG_TARGET_…=… -P vcpkg.cmake
#
# What vcpkg itself checks afterwards is not checked: it is in no registry.

file(READ "${PORT_DIR}/vcpkg.json" manifest)
string(JSON PORT GET "${manifest}" name)
string(JSON VERSION GET "${manifest}" version-semver)

function(vcpkg_download_distfile variable)
    cmake_parse_arguments(PARSE_ARGV 1 "" "" "FILENAME;SHA512" "URLS")
    file(SHA512 "${RELEASE}/c/${_FILENAME}" sum)
    if(NOT sum STREQUAL _SHA512)
        message(FATAL_ERROR "${_FILENAME} has another checksum")
    endif()
    set(${variable} "${RELEASE}/c/${_FILENAME}" PARENT_SCOPE)
endfunction()

# The directory at the top of an archive is left out.
function(vcpkg_extract_source_archive variable)
    cmake_parse_arguments(PARSE_ARGV 1 "" "" "ARCHIVE" "")
    set(extracted "${CURRENT_PACKAGES_DIR}.extracted")
    file(ARCHIVE_EXTRACT INPUT "${_ARCHIVE}" DESTINATION "${extracted}")
    file(GLOB top LIST_DIRECTORIES true "${extracted}/*")
    set(${variable} "${top}" PARENT_SCOPE)
endfunction()

function(vcpkg_install_copyright)
    cmake_parse_arguments(PARSE_ARGV 0 "" "" "" "FILE_LIST")
    foreach(file ${_FILE_LIST})
        file(READ "${file}" text)
        file(APPEND "${CURRENT_PACKAGES_DIR}/share/${PORT}/copyright" "${text}")
    endforeach()
endfunction()

include("${PORT_DIR}/portfile.cmake")
