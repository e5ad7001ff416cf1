#pragma once
// The only place that includes node-addon-api; its settings are compile definitions of native/cmake/Options.cmake.
#include <napi.h>
