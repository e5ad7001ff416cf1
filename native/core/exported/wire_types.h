#pragma once
// torch.export numbers element types, layouts and memory formats in its own way (torch/_export/serde/schema.py), not in
// libtorch's.

#include <c10/core/MemoryFormat.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>

namespace ta::exported {

/// ERR_UNSUPPORTED, naming `what`, on complex128, complex32, quantised and eight-bit types.
at::ScalarType wire_dtype(int64_t number, const std::string& what);
/// Dense is the only layout.
void require_dense_layout(int64_t number, const std::string& what);
at::MemoryFormat wire_memory_format(int64_t number, const std::string& what);

}  // namespace ta::exported
