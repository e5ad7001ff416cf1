#include <algorithm>

#include "core/error.h"
#include "core/state/atomic_file.h"
#include "core/state/bytes.h"
#include "core/state/checked_math.h"
#include "core/state/dtype.h"
#include "core/state/json.h"
#include "core/state/mapped_storage.h"
#include "core/state/safetensors.h"
#include "core/state/utf8.h"

namespace ta {
namespace {

// The data begins at a multiple of a cache line, which every vector instruction is content with.
constexpr uint64_t alignment = 64;

Json describe(const std::string& name, const at::Tensor& tensor, uint64_t begin) {
  Json::Array shape;
  for (const int64_t size : tensor.sizes()) shape.emplace_back(size);
  const uint64_t end = begin + static_cast<uint64_t>(tensor.numel()) * tensor.element_size();
  return Json::Object{{"dtype", safetensors_name(tensor.scalar_type(), name)},
                      {"shape", std::move(shape)},
                      {"data_offsets", Json::Array{static_cast<int64_t>(begin), static_cast<int64_t>(end)}}};
}

void require_name(const std::string& name) {
  if (name != "__metadata__" && is_utf8(name)) return;
  fail(ErrorCode::invalid_argument, "write safetensors", "not a name that the format allows",
       {.got = "'" + name + "'"});
}

}  // namespace

void write_safetensors(const std::string& path, const StateDict& tensors, const SafetensorsMetadata& metadata) {
  std::vector<const StateDict::Entry*> order;
  for (const StateDict::Entry& entry : tensors) {
    require_name(entry.first);
    if (!entry.second.defined()) writable_tensor(entry.second, entry.first);
    order.push_back(&entry);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto* a, const auto* b) { return a->second.element_size() > b->second.element_size(); });

  Json::Object members;
  if (!metadata.empty()) {
    Json::Object pairs;
    for (const auto& [key, value] : metadata) pairs.emplace_back(key, value);
    members.emplace_back("__metadata__", std::move(pairs));
  }
  uint64_t position = 0;
  for (const auto* entry : order) {
    members.emplace_back(entry->first, describe(entry->first, entry->second, position));
    position += static_cast<uint64_t>(entry->second.numel()) * entry->second.element_size();
  }
  std::string header = write_json(std::move(members));
  // Spaces after the JSON are part of the format.
  header.resize(round_up(8 + header.size(), alignment) - 8, ' ');

  AtomicFile file(path);
  std::string length;
  append_little_endian<uint64_t>(length, header.size());
  file.write(length);
  file.write(header);
  for (const auto* entry : order) {
    const at::Tensor dense = writable_tensor(entry->second, entry->first);
    file.write(dense.const_data_ptr(), static_cast<std::size_t>(dense.numel()) * dense.element_size());
  }
  file.commit();
}

}  // namespace ta
