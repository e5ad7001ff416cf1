# Executables of test/core/*_test.cc, linked against the core's objects and libtorch: one a file, or with -DTA_SANITIZE=ON
# all in one, core_tests_sanitized, whose sources are compiled as two units. Not part of the ordinary build:
# scripts/lib/core-tests.mjs asks for them.

file(GLOB CORE_TESTS CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/test/core/*_test.cc")
set(_main "${PROJECT_SOURCE_DIR}/test/core/main.cc")
# The addon leaves OpenMP's symbols to libtorch_cpu's own run-time; an executable must name that file.
file(GLOB _openmp "${LIBTORCH_ROOT}/lib/libgomp*.so*")

function(ta_core_test name)
  add_executable(${name} EXCLUDE_FROM_ALL ${ARGN} "${_main}")
  ta_compile_options(${name})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/test/core")
  target_link_libraries(${name} PRIVATE torch_adapters_core libtorch::libtorch ${_openmp})
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/core-tests" INSTALL_RPATH "${LIBTORCH_ROOT}/lib")
endfunction()

if(TA_SANITIZE)
  ta_core_test(core_tests_sanitized ${CORE_TESTS})
  set_target_properties(core_tests_sanitized PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 7)
else()
  foreach(_source IN LISTS CORE_TESTS)
    get_filename_component(_name "${_source}" NAME_WE)
    ta_core_test(${_name} "${_source}")
  endforeach()
endif()
