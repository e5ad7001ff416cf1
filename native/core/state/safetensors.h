// The safetensors format (github.com/huggingface/safetensors, "Format"):
//   u64 length N | N bytes of JSON {"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {…}} |
//   data
// What the format forbids is refused: a header over 100 MB, overlapping or missing bytes, a size that does not follow
// from dtype and shape, a name given twice.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/state/mapped_file.h"
#include "core/state/state_dict.h"

namespace ta {

using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;

// Tensors over the mapped file, without a copy (see mapped_storage.h). `metadata`, when given, receives the header's
// "__metadata__".
StateDict read_safetensors(const std::string& path, SafetensorsMetadata* metadata = nullptr);
StateDict read_safetensors(const std::shared_ptr<const MappedFile>& file, SafetensorsMetadata* metadata = nullptr);

// Replaces `path` as a whole (atomic_file.h). Tensors are written dense and in order, wide elements first so that every
// one lies aligned; those that share memory are written each by itself. transformers wants "format": "pt".
void write_safetensors(const std::string& path, const StateDict& tensors,
                       const SafetensorsMetadata& metadata = {{"format", "pt"}});

}  // namespace ta
