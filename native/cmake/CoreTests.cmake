# One executable per test/core/*_test.cc, linked against the core's objects and libtorch. Not part of the ordinary build:
# scripts/core-tests.mjs asks for the target core_tests, plainly or in a folder configured with -DTA_SANITIZE=ON.

file(GLOB CORE_TESTS CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/test/core/*_test.cc")
# The addon leaves OpenMP's symbols to libtorch_cpu's own run-time; an executable must name that file.
file(GLOB _openmp "${LIBTORCH_ROOT}/lib/libgomp*.so*")

add_custom_target(core_tests)
foreach(_source IN LISTS CORE_TESTS)
  get_filename_component(_name "${_source}" NAME_WE)
  add_executable(${_name} EXCLUDE_FROM_ALL "${_source}")
  ta_compile_options(${_name})
  target_include_directories(${_name} PRIVATE "${PROJECT_SOURCE_DIR}/test/core")
  target_link_libraries(${_name} PRIVATE torch_adapters_core libtorch::libtorch ${_openmp})
  set_target_properties(${_name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/core-tests" INSTALL_RPATH "${LIBTORCH_ROOT}/lib")
  add_dependencies(core_tests ${_name})
endforeach()
