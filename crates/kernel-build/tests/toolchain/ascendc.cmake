# Stands for CANN's package, with a real CMake: writes what it is called with to `calls` in the build folder, and takes images
# from the folder IMAGES of the environment.
set(ASCENDC_CALLS "${CMAKE_BINARY_DIR}/calls")
file(WRITE "${ASCENDC_CALLS}" "${SOC_VERSION} ${RUN_MODE} ${CMAKE_BUILD_TYPE} ${ASCEND_CANN_PACKAGE_PATH}\n")

function(ascendc_fatbin_library target)
    file(APPEND "${ASCENDC_CALLS}" "${target} ${ARGN}\n")
    string(REGEX REPLACE "^fa_" "" family "${target}")
    set(folder "${CMAKE_INSTALL_PREFIX}/fatbin/${target}")
    add_custom_target(${target} ALL
        COMMAND ${CMAKE_COMMAND} -E make_directory "${folder}"
        COMMAND ${CMAKE_COMMAND} -E copy "$ENV{IMAGES}/${family}.o" "${folder}/${target}.o"
    )
endfunction()

function(ascendc_include_directories target scope)
    file(APPEND "${ASCENDC_CALLS}" "${target} ${scope} includes ${ARGN}\n")
endfunction()

function(ascendc_compile_options target scope)
    file(APPEND "${ASCENDC_CALLS}" "${target} ${scope} options ${ARGN}\n")
endfunction()
