# Compile and link options that every target shares.

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
# libtorch is built with the dynamic C run-time; cmake-js asks for the static one.
set(CMAKE_MSVC_RUNTIME_LIBRARY MultiThreadedDLL)

option(TA_UNITY "compile several files of the core as one unit" ON)
option(TA_SANITIZE "compile with AddressSanitizer and checks of arithmetic" OFF)

# What a target needs to be compiled like the rest of the project.
function(ta_compile_options target)
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/native")
  set_target_properties(${target} PROPERTIES
    CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON POSITION_INDEPENDENT_CODE ON)
  if(MSVC)
    target_compile_options(${target} PRIVATE /O2 /utf-8 /Zc:__cplusplus /bigobj /EHsc /openmp)
    target_compile_definitions(${target} PRIVATE NOMINMAX WIN32_LEAN_AND_MEAN)
  else()
    target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O3> -Wall -Wextra)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
      target_compile_options(${target} PRIVATE -Wno-restrict) # false alarms on "text" + std::string, GCC bug 105651
    endif()
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND NOT CMAKE_OSX_ARCHITECTURES MATCHES "arm64")
      target_compile_options(${target} PRIVATE -march=x86-64-v2)
    endif()
    if(TA_SANITIZE)
      # Of undefined behaviour what arithmetic on numbers from files can do: all of it would double the compile time.
      set(_sanitizers -fsanitize=address,bool,bounds,enum,float-cast-overflow,integer-divide-by-zero,shift,signed-integer-overflow)
      target_compile_options(${target} PRIVATE
        ${_sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1 -O1)
      target_link_options(${target} PRIVATE ${_sanitizers})
    endif()
  endif()
endfunction()

# Reading libtorch's headers is more than half of what a file costs: a target reads those that most of its files include
# once. Files still include what they use: with a compiler cache, from which such headers hide them, nothing is
# precompiled. (Not tried with Visual C++.)
function(ta_precompile target)
  if(CMAKE_CXX_COMPILER_LAUNCHER OR MSVC)
    return()
  endif()
  target_precompile_headers(${target} PRIVATE
    <algorithm> <functional> <map> <memory> <optional> <string> <unordered_map> <vector>
    <ATen/TensorOperators.h> <ATen/core/Tensor.h> <ATen/ops/cat.h> <ATen/ops/empty.h> <ATen/ops/matmul.h>
    <c10/core/GradMode.h> <torch/csrc/autograd/function.h> ${ARGN})
endfunction()

# The same headers for a target with the same options.
function(ta_reuse_precompiled target from)
  get_target_property(_headers ${from} PRECOMPILE_HEADERS)
  if(_headers)
    target_precompile_headers(${target} REUSE_FROM ${from})
  endif()
endfunction()

# What makes a shared library a Node-API addon. These definitions are the only place that configures node-addon-api.
function(ta_node_addon target)
  target_include_directories(${target} SYSTEM PRIVATE ${CMAKE_JS_INC})
  target_link_libraries(${target} PRIVATE ${CMAKE_JS_LIB})
  target_compile_definitions(${target} PRIVATE
    NAPI_VERSION=9
    NODE_ADDON_API_CPP_EXCEPTIONS_ALL
    NODE_ADDON_API_DISABLE_DEPRECATED
    NODE_ADDON_API_REQUIRE_BASIC_FINALIZERS
    NODE_API_NO_EXTERNAL_BUFFERS_ALLOWED
    NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS)
  set_target_properties(${target} PROPERTIES PREFIX "" SUFFIX ".node" NO_SONAME ON)
  if(APPLE)
    target_link_options(${target} PRIVATE -undefined dynamic_lookup)
  elseif(MSVC AND CMAKE_JS_NODELIB_DEF AND CMAKE_JS_NODELIB_TARGET)
    # Node-API headers bring a .def file from which the import library of node.exe is made.
    execute_process(COMMAND ${CMAKE_AR} /def:${CMAKE_JS_NODELIB_DEF} /out:${CMAKE_JS_NODELIB_TARGET}
      ${CMAKE_STATIC_LINKER_FLAGS})
  endif()
endfunction()
