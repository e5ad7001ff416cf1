#include "core/state/mapped_storage.h"

#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/state/checked_math.h"

namespace ta {
namespace {

using HeldFile = std::shared_ptr<const MappedFile>;

void let_go(void* held) {
  delete static_cast<HeldFile*>(held);
}

c10::DataPtr map_pointer(HeldFile file, uint64_t offset) {
  void* data = const_cast<uint8_t*>(file->data() + offset);
  return {data, std::make_unique<HeldFile>(std::move(file)).release(), let_go, at::Device(at::kCPU)};
}

}  // namespace

c10::DataPtr mapped_pointer(std::shared_ptr<const MappedFile> file, uint64_t offset, uint64_t size,
                            at::ScalarType dtype) {
  const std::span<const uint8_t> bytes = file->range(offset, size, "a tensor");
  if (bytes.empty() || reinterpret_cast<uintptr_t>(bytes.data()) % c10::elementSize(dtype) == 0) {
    return map_pointer(std::move(file), offset);
  }
  c10::DataPtr pointer = c10::GetCPUAllocator()->allocate(bytes.size());
  std::memcpy(pointer.mutable_get(), bytes.data(), bytes.size());
  return pointer;
}

at::Storage mapped_storage(std::shared_ptr<const MappedFile> file, uint64_t offset, uint64_t size,
                           at::ScalarType dtype) {
  c10::DataPtr pointer = mapped_pointer(std::move(file), offset, size, dtype);
  return {at::Storage::use_byte_size_t{}, static_cast<std::size_t>(size), std::move(pointer), nullptr, false};
}

// Values of a tensor that repeats some (a stride of 0), where it has more than its storage.
constexpr uint64_t kMostRepeated = uint64_t{1} << 24;

at::Tensor tensor_in_storage(const at::Storage& storage, at::ScalarType dtype, int64_t offset,
                             const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides,
                             const std::string& what) {
  const auto bad = [&](const char* problem) {
    fail(ErrorCode::file_format, "read " + what, problem,
         {.expected = text("a shape within ", storage.nbytes() / c10::elementSize(dtype), " elements of storage"),
          .got = text("shape ", at::IntArrayRef(sizes), ", strides ", at::IntArrayRef(strides), ", offset ", offset)});
  };
  if (sizes.size() != strides.size() || sizes.size() > 64) bad("wrong number of dimensions");
  const uint64_t capacity = storage.nbytes() / c10::elementSize(dtype);
  bool negative = offset < 0;
  bool empty = false;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    negative = negative || sizes[i] < 0 || strides[i] < 0;
    empty = empty || sizes[i] == 0;
  }
  if (negative) bad("negative shape, stride or offset");
  std::optional<uint64_t> count = 1;
  std::optional<uint64_t> last = static_cast<uint64_t>(offset);
  for (std::size_t i = 0; i < sizes.size() && !empty; ++i) {
    const uint64_t steps = static_cast<uint64_t>(sizes[i] - 1);
    count = count ? checked_multiply(*count, static_cast<uint64_t>(sizes[i])) : count;
    const std::optional<uint64_t> reach = checked_multiply(steps, static_cast<uint64_t>(strides[i]));
    last = last && reach ? checked_add(*last, *reach) : std::nullopt;
  }
  if (empty) {
    // Nothing is read, but the product of the other sizes still becomes a number in PyTorch.
    std::optional<uint64_t> others = 1;
    for (const int64_t size : sizes) others = others && size > 0 ? checked_multiply(*others, uint64_t(size)) : others;
    if (!others || *others > uint64_t{1} << 40 || static_cast<uint64_t>(offset) > capacity) bad("shape out of range");
  } else if (!count || !last || *count > std::max(capacity, kMostRepeated) || *last >= capacity) {
    bad("the tensor lies outside its storage");
  }
  auto tensor = at::detail::make_tensor<c10::TensorImpl>(
      at::Storage(storage), c10::DispatchKeySet(c10::DispatchKey::CPU), c10::scalarTypeToTypeMeta(dtype));
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(sizes, strides, offset);
  return tensor;
}

std::vector<int64_t> dense_strides(const std::vector<int64_t>& sizes) {
  std::vector<int64_t> strides(sizes.size(), 1);
  // A size of 0 counts as 1, as in PyTorch; unsigned, so that a hostile shape wraps instead of being undefined (it is
  // refused by tensor_in_storage).
  for (std::size_t i = sizes.size(); i-- > 1;) {
    const uint64_t size = static_cast<uint64_t>(std::max<int64_t>(sizes[i], 1));
    strides[i - 1] = static_cast<int64_t>(static_cast<uint64_t>(strides[i]) * size);
  }
  return strides;
}

void require_booleans(const at::Storage& storage, const std::string& what) {
  const uint8_t* data = static_cast<const uint8_t*>(storage.data());
  const bool good = std::all_of(data, data + storage.nbytes(), [](uint8_t value) { return value <= 1; });
  if (!good) fail(ErrorCode::file_format, "read " + what, "a boolean that is neither 0 nor 1");
}

at::Tensor writable_tensor(const at::Tensor& tensor, const std::string& name) {
  if (!tensor.defined() || tensor.layout() != at::kStrided || tensor.is_quantized() || tensor.is_meta()) {
    fail(ErrorCode::unsupported, "write '" + name + "'", "only dense tensors can be written",
         {.got = !tensor.defined()  ? "an undefined tensor"
                 : tensor.is_meta() ? "a tensor without data"
                                    : "another layout"});
  }
  return tensor.detach().to(at::kCPU).contiguous();
}

void drop_pages(const at::Tensor& tensor) {
  const auto& pointer = tensor.storage().data_ptr();
  if (pointer.get_deleter() != let_go) return;
  const auto& file = *static_cast<HeldFile*>(pointer.get_context());
  const auto* data = static_cast<const uint8_t*>(tensor.const_data_ptr());
  file->drop_pages(static_cast<uint64_t>(data - file->data()), tensor.nbytes());
}

}  // namespace ta
