// Archives of torch.export for tests: the fixtures that scripts/lib/unpack-fixtures.mjs unpacks, and ones that a test
// writes itself.
#pragma once

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/exported/archive.h"
#include "core/exported/execution.h"
#include "core/exported/graph.h"
#include "core/exported/program.h"
#include "core/state/atomic_file.h"
#include "core/state/json.h"
#include "core/state/safetensors.h"
#include "core/state/zip_reader.h"
#include "core/state/zip_writer.h"
#include "tensors.h"

namespace check {

inline const std::vector<std::string>& exported_models() {
  static const std::vector<std::string> names = {"bert", "gpt2", "llama"};
  return names;
}

inline std::string exported_file(const std::string& name) {
  return "build/fixtures/exported/" + name;
}

// A program over an archive's own weights.
struct Exported {
  explicit Exported(const std::string& path)
      : archive(ta::exported::Archive::open(path)),
        program(ta::exported::Graph::parse(archive.model(), archive.path()), archive) {
    for (const ta::exported::Input& input : program.graph().inputs) {
      if (input.kind == ta::exported::Input::Kind::user || !input.persistent) continue;
      program.bind(input.name, &archive.weights().at(input.name));
    }
  }

  std::vector<at::Tensor> run(const std::vector<at::Tensor>& inputs, bool training = false) const {
    return ta::exported::Execution(program, nullptr, training).run(inputs);
  }

  ta::exported::Archive archive;
  ta::exported::Program program;
};

// The archive at `source` with other bytes for the entries that end as told.
inline void write_archive(const std::string& path, const std::string& source,
                          const std::vector<std::pair<std::string, std::string>>& changed) {
  const ta::ZipReader original(ta::MappedFile::open(source));
  ta::AtomicFile file(path);
  ta::ZipWriter zip(file);
  for (const ta::ZipEntry& entry : original.entries()) {
    const auto content = original.data(entry);
    std::string_view bytes(reinterpret_cast<const char*>(content.data()), content.size());
    for (const auto& [ending, other] : changed) {
      if (entry.name.ends_with(ending)) bytes = other;
    }
    zip.add(entry.name, bytes);
  }
  zip.finish();
  file.commit();
}

inline std::string archive_entry(const std::string& path, const std::string& ending) {
  const ta::ZipReader zip(ta::MappedFile::open(path));
  for (const ta::ZipEntry& entry : zip.entries()) {
    const auto bytes = zip.data(entry);
    if (entry.name.ends_with(ending)) return {bytes.begin(), bytes.end()};
  }
  return {};
}

// Inputs that fit a graph: symbols are 2, 3, …; ids are 0 and 1.
inline std::vector<at::Tensor> inputs_for(const ta::exported::Graph& graph) {
  std::vector<at::Tensor> inputs;
  for (const ta::exported::Input& input : graph.inputs) {
    if (input.kind != ta::exported::Input::Kind::user) continue;
    const ta::exported::SlotInfo& slot = graph.slots[static_cast<std::size_t>(input.slot)];
    std::vector<int64_t> shape;
    for (const ta::exported::Size& size : slot.shape) {
      shape.push_back(size.symbol >= 0 ? 2 + size.symbol % 4 : size.number);
      if (shape.back() < 0 || shape.back() > 64) ta::fail(ta::ErrorCode::out_of_range, "make inputs", "too large");
    }
    if (shape.size() > 4) ta::fail(ta::ErrorCode::out_of_range, "make inputs", "too many dimensions");
    inputs.push_back(at::ones(shape, at::TensorOptions(slot.dtype.value_or(at::kFloat))));
  }
  return inputs;
}

}  // namespace check
