// The element types that weight files may hold, under the names that each format gives them.
#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <string>
#include <string_view>

namespace ta {

// "F32" in safetensors
std::optional<at::ScalarType> dtype_from_safetensors(std::string_view name);
// "FloatStorage" in PyTorch's pickles
std::optional<at::ScalarType> dtype_from_storage(std::string_view name);

// Both fail with ERR_UNSUPPORTED, naming `tensor`, for a type that the files cannot hold.
std::string safetensors_name(at::ScalarType dtype, const std::string& tensor);
std::string storage_name(at::ScalarType dtype, const std::string& tensor);

// "float32", as PyTorch prints it; for messages.
std::string dtype_name(at::ScalarType dtype);

}  // namespace ta
