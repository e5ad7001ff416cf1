# libtorch by its root folder: an unpacked libtorch archive, or the torch/ folder of a Python wheel (same layout).
#
# Only torch_cpu and c10 are linked. libtorch.so and libtorch_cuda.so would pull the CUDA libraries in through
# DT_NEEDED; the loader addon opens them at run time where a driver is present. Torch's own CMake package is not used:
# it asks for a CUDA toolkit as soon as the wheel is a CUDA build, and writes the builder's paths into RUNPATH.
#
# Gives: libtorch::libtorch, LIBTORCH_ROOT, LIBTORCH_VERSION, LIBTORCH_VERSION_MAJOR, LIBTORCH_VERSION_MINOR.

set(LIBTORCH_ROOT "" CACHE PATH "folder with include/ and lib/ of libtorch")
set(_candidates "${LIBTORCH_ROOT}" "$ENV{LIBTORCH}" "${PROJECT_SOURCE_DIR}/libtorch")
set(_root "")
foreach(_candidate IN LISTS _candidates)
  if(NOT _root AND _candidate AND EXISTS "${_candidate}/include/torch/headeronly/version.h")
    get_filename_component(_root "${_candidate}" REALPATH)
  endif()
endforeach()
if(NOT _root)
  message(FATAL_ERROR "no libtorch headers found. Looked for include/torch/headeronly/version.h in "
    "LIBTORCH_ROOT='${LIBTORCH_ROOT}', the environment's LIBTORCH='$ENV{LIBTORCH}' and "
    "'${PROJECT_SOURCE_DIR}/libtorch'. Run: npm run setup")
endif()
set(LIBTORCH_ROOT "${_root}" CACHE PATH "folder with include/ and lib/ of libtorch" FORCE)

file(STRINGS "${_root}/include/torch/headeronly/version.h" _defines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*PATCH ([0-9]+).*" "\\1.\\2.\\3" LIBTORCH_VERSION "${_defines}")
string(REGEX MATCH "^([0-9]+)\\.([0-9]+)" _ "${LIBTORCH_VERSION}")
set(LIBTORCH_VERSION_MAJOR "${CMAKE_MATCH_1}")
set(LIBTORCH_VERSION_MINOR "${CMAKE_MATCH_2}")

# A binary built on one minor can load on another and then corrupt memory, so the build refuses all but the one named
# in package.json.
file(READ "${PROJECT_SOURCE_DIR}/package.json" _package)
string(JSON _wanted GET "${_package}" libtorch version)
string(REGEX MATCH "^[0-9]+\\.[0-9]+" _wanted_minor "${_wanted}")
if(NOT _wanted_minor STREQUAL "${LIBTORCH_VERSION_MAJOR}.${LIBTORCH_VERSION_MINOR}")
  message(FATAL_ERROR "libtorch ${LIBTORCH_VERSION} at ${_root} does not fit: this package builds on ${_wanted_minor} "
    "(package.json, libtorch.version). Run: npm run setup")
endif()
message(STATUS "libtorch ${LIBTORCH_VERSION} at ${_root}")

if(NOT TARGET libtorch::libtorch)
  foreach(_name IN ITEMS c10 torch_cpu)
    add_library(libtorch::${_name} SHARED IMPORTED)
    set_target_properties(libtorch::${_name} PROPERTIES
      IMPORTED_LOCATION "${_root}/lib/${CMAKE_SHARED_LIBRARY_PREFIX}${_name}${CMAKE_SHARED_LIBRARY_SUFFIX}"
      IMPORTED_IMPLIB "${_root}/lib/${_name}.lib")
  endforeach()
  add_library(libtorch::libtorch INTERFACE IMPORTED)
  target_include_directories(libtorch::libtorch SYSTEM INTERFACE
    "${_root}/include" "${_root}/include/torch/csrc/api/include")
  target_link_libraries(libtorch::libtorch INTERFACE libtorch::torch_cpu libtorch::c10)
  if(UNIX AND NOT APPLE)
    # libtorch_cpu of a CUDA wheel leaves symbols to libraries that are not on the link line.
    target_link_options(libtorch::libtorch INTERFACE LINKER:--allow-shlib-undefined)
  endif()
endif()
