# test/core/*_test.cc as programs, linked against the core's objects and libtorch: core_tests has them all, its sources
# compiled seven at a time; each file is one, too, for work on it. Not part of the ordinary build:
# scripts/lib/core-tests.mjs asks for them.

file(GLOB CORE_TESTS CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/test/core/*_test.cc")
set(_main "${PROJECT_SOURCE_DIR}/test/core/main.cc")
# The addon leaves OpenMP's symbols to libtorch_cpu's own run-time; an executable must name that file.
file(GLOB _openmp "${LIBTORCH_ROOT}/lib/libgomp*.so*")

function(ta_test_options target)
  ta_compile_options(${target})
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/test/core")
  # The same for objects and programs, or the precompiled headers of one would not be the other's.
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_link_libraries(${target} PRIVATE libtorch::libtorch)
endfunction()

add_library(core_tests_main OBJECT EXCLUDE_FROM_ALL "${_main}")
ta_test_options(core_tests_main)
ta_precompile(core_tests_main)

function(ta_core_test name)
  add_executable(${name} EXCLUDE_FROM_ALL ${ARGN})
  ta_test_options(${name})
  ta_reuse_precompiled(${name} core_tests_main)
  target_link_libraries(${name} PRIVATE core_tests_main torch_adapters_core ${_openmp})
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/core-tests" INSTALL_RPATH "${LIBTORCH_ROOT}/lib")
endfunction()

ta_core_test(core_tests ${CORE_TESTS})
set_target_properties(core_tests PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 7)
foreach(_source IN LISTS CORE_TESTS)
  get_filename_component(_name "${_source}" NAME_WE)
  ta_core_test(${_name} "${_source}")
endforeach()
