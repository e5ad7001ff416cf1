// Tensors over a mapped file. The storage holds the map, so a tensor stays valid for as long as anyone holds it.
// The memory is read-only: an in-place operation on such a tensor faults (mapped_file.h says why that is wanted).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/state/mapped_file.h"

namespace ta {

// The bytes [offset, offset + size) of the file, which must lie in it. They are copied only when `offset` is not a
// multiple of the element's size: the processor's wide loads need aligned elements.
at::Storage mapped_storage(std::shared_ptr<const MappedFile> file, uint64_t offset, uint64_t size,
                           at::ScalarType dtype);
c10::DataPtr mapped_pointer(std::shared_ptr<const MappedFile> file, uint64_t offset, uint64_t size,
                            at::ScalarType dtype);

// A view of `storage`; offset and strides count elements. Fails with ERR_FILE_FORMAT, naming `what`, when an element
// would lie outside, or when there are more elements than the storage has (an expanded tensor of 2^40 elements over
// four bytes is a trap for whoever copies it).
at::Tensor tensor_in_storage(const at::Storage& storage, at::ScalarType dtype, int64_t offset,
                             const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides,
                             const std::string& what);

// Strides of a dense tensor in row-major order.
std::vector<int64_t> dense_strides(const std::vector<int64_t>& sizes);

// A bool that is neither 0 nor 1 is undefined behaviour to whoever reads it.
void require_booleans(const at::Storage& storage, const std::string& what);

// The same values, dense, on the CPU and without history: what a file can hold. Copies only when it must.
// Fails with ERR_UNSUPPORTED on undefined, sparse and quantised tensors.
at::Tensor writable_tensor(const at::Tensor& tensor, const std::string& name);

// Of a dense tensor over a mapped file that has been copied: its pages need not stay resident. Others are left alone.
void drop_pages(const at::Tensor& tensor);

}  // namespace ta
