#include "core/state/weights_file.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string_view>
#include <unordered_map>

#include "core/error.h"
#include "core/state/bytes.h"
#include "core/state/json.h"
#include "core/state/mapped_file.h"
#include "core/state/safetensors.h"
#include "core/state/torch_checkpoint.h"
#include "core/state/utf8_path.h"
#include "core/state/zip_reader.h"

namespace ta {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view weight_files[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                             "pytorch_model.bin.index.json"};

[[noreturn]] void not_weights(const MappedFile& file) {
  const std::span<const uint8_t> bytes = file.bytes().first(std::min<std::size_t>(file.bytes().size(), 64));
  const std::string_view start(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  ErrorDetail detail{.expected = "safetensors or a PyTorch checkpoint"};
  if (start.empty()) {
    detail.got = "an empty file";
  } else if (start.starts_with("version https://git-lfs")) {
    detail.got = "a Git LFS pointer";
    detail.hint = "Fetch the file itself: git lfs pull.";
  } else if (start.starts_with("<") || start.starts_with("{")) {
    detail.got = start.front() == '<' ? "a web page" : "JSON text";
    detail.hint = file.path().ends_with(".json") ? "It is a config: name its folder, or the file of weights beside it."
                                                 : "It may be rows, or an error message that a download saved.";
  } else {
    detail.got = "neither";
    detail.hint = "If the file comes from a download, fetch it again.";
  }
  fail(ErrorCode::file_format, "read " + file.path(), "not a weights file", std::move(detail));
}

// Of a safetensors file the ninth byte is the '{' of its header, whose length the first eight give.
bool looks_like_safetensors(const MappedFile& file) {
  if (file.size() < 10) return false;
  ByteReader reader(file.bytes(), file.path());
  return reader.read<uint64_t>() <= file.size() - 8 && reader.read<uint8_t>() == '{';
}

WeightsFormat detect(const MappedFile& file) {
  if (ZipReader::looks_like_zip(file.bytes())) return WeightsFormat::torch;
  if (looks_like_legacy_checkpoint(file)) return WeightsFormat::torch;
  if (looks_like_safetensors(file)) return WeightsFormat::safetensors;
  not_weights(file);
}

// The index comes with the model and is no more trusted than the rest: a shard is a file of the same folder.
void require_plain_name(const std::string& index, const std::string& name) {
  const bool plain = !name.empty() && name != "." && name != ".." && name.find_first_of("/\\:") == std::string::npos &&
                     name.find('\0') == std::string::npos;
  if (plain) return;
  fail(ErrorCode::file_format, "read " + index, "a shard must be a file in the folder of its index",
       {.got = "'" + name + "'"});
}

// {"metadata": {…}, "weight_map": {tensor name: file name}}
StateDict read_sharded(const fs::path& folder, const std::string& index_path) {
  const auto index_file = MappedFile::open(index_path);
  const std::string_view index_text(reinterpret_cast<const char*>(index_file->data()), index_file->bytes().size());
  const Json index = parse_json(index_text, index_path);
  const Json* map = index.find("weight_map");
  if (!map) fail(ErrorCode::file_format, "read " + index_path, "not a weights index: it has no 'weight_map'");

  std::unordered_map<std::string, StateDict> shards;
  std::vector<std::string> missing;
  StateDict weights;
  for (const auto& [name, file_json] : map->as_object(index_path)) {
    const std::string& file_name = file_json.as_string(index_path + ", '" + name + "'");
    auto shard = shards.find(file_name);
    if (shard == shards.end()) {
      require_plain_name(index_path, file_name);
      const fs::path path = folder / utf8_path(file_name);
      std::error_code ignored;
      if (!fs::exists(path, ignored)) {
        fail(ErrorCode::file_io, "read " + index_path, "a shard that the index names is not there",
             {.expected = utf8_text(path), .hint = "Download or copy the folder again, with all files that it names."});
      }
      shard = shards.emplace(file_name, read_weights(utf8_text(path))).first;
    }
    if (const at::Tensor* tensor = shard->second.find(name))
      weights.add(name, *tensor);
    else
      missing.push_back(name + " in " + file_name);
  }
  if (!missing.empty()) {
    fail(ErrorCode::file_format, "read " + index_path, "the shards do not hold what the index says",
         {.expected = name_list(missing), .got = "no such tensors", .hint = "The files are of different versions."});
  }
  return weights;
}

}  // namespace

WeightsFormat detect_weights_format(const std::string& path) {
  return detect(*MappedFile::open(path));
}

StateDict read_weights(const std::string& path) {
  const auto file = MappedFile::open(path);
  if (detect(*file) == WeightsFormat::safetensors) return read_safetensors(file);
  return to_state_dict(read_torch_checkpoint(file), path);
}

void write_weights(const std::string& path, const StateDict& tensors, WeightsFormat format) {
  if (format == WeightsFormat::safetensors)
    write_safetensors(path, tensors);
  else
    write_state_dict(path, tensors);
}

std::string find_model_weights(const std::string& folder) {
  std::error_code ignored;
  for (const std::string_view name : weight_files) {
    const fs::path path = utf8_path(folder) / name;
    if (fs::exists(path, ignored)) return utf8_text(path);
  }
  return {};
}

StateDict read_model_weights(const std::string& folder) {
  const std::string path = find_model_weights(folder);
  if (path.empty()) {
    std::vector<std::string> found;
    std::error_code error;
    for (fs::directory_iterator entry(utf8_path(folder), error), end; !error && entry != end; entry.increment(error)) {
      found.push_back(utf8_text(entry->path().filename()));
    }
    std::sort(found.begin(), found.end());
    fail(ErrorCode::file_io, "load model from " + folder, "no weights in the folder",
         {.expected = "one of " + name_list(weight_files),
          .got = error           ? error.message()
                 : found.empty() ? "an empty folder"
                                 : name_list(found),
          .hint = "Weights of TensorFlow or Flax must be converted to safetensors first."});
  }
  if (path.ends_with(".index.json")) return read_sharded(utf8_path(folder), path);
  return read_weights(path);
}

StateDict read_weights_at(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(utf8_path(path), ignored) ? read_model_weights(path) : read_weights(path);
}

}  // namespace ta
