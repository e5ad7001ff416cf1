// PyTorch's format from 0.2 to 1.5, and later with _use_new_zipfile_serialization=False: one pickle after the other,
//   a magic number, the version 1001, facts of the machine, the object, the list of the storages' keys,
// and then for each key, in the order of the list, its number of elements (8 bytes) and these. All is little-endian on
// every machine, whatever the facts say; PyTorch's reader ignores them, too.
#include <algorithm>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/state/bytes.h"
#include "core/state/checked_math.h"
#include "core/state/mapped_storage.h"
#include "core/state/pickle_reader.h"
#include "core/state/torch_checkpoint.h"

namespace ta {
namespace {

constexpr int64_t known_version = 1001;

// The size of the first pickle, where it is the magic number 0x1950a86a20f9469cfc6c.
std::optional<std::size_t> magic_size(std::span<const uint8_t> bytes) {
  // LONG1 of ten bytes, STOP
  static constexpr uint8_t magic[] = {0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};
  if (bytes.size() < 3 || bytes[0] != 0x80 || bytes[1] < 2 || bytes[1] > 5) return std::nullopt;
  // Protocols from 4 on put a frame of nine bytes around it.
  const std::size_t start = bytes[2] == 0x95 ? 11 : 2;
  if (bytes.size() < start + sizeof magic) return std::nullopt;
  if (!std::equal(std::begin(magic), std::end(magic), bytes.begin() + static_cast<std::ptrdiff_t>(start))) {
    return std::nullopt;
  }
  return start + sizeof magic;
}

class LegacyReader {
 public:
  explicit LegacyReader(const std::shared_ptr<const MappedFile>& file) : file_(file), left_(file->bytes()) {}

  PickleValue read() {
    left_ = left_.subspan(*magic_size(left_));
    const int64_t version = take_plain().as_integer(file_->path() + ", the version");
    if (version != known_version) {
      fail(ErrorCode::unsupported, "read " + file_->path(), "a checkpoint of an unknown version",
           {.expected = text(known_version), .got = text(version)});
    }
    take_plain();
    PickleValue value = take_pickle(
        left_, [this](const StorageId& id) { return storage(id); }, file_->path());
    const PickleValue keys = take_plain();
    fill(keys.as_items(file_->path() + ", the storages' keys"));
    return value;
  }

 private:
  struct Root {
    at::Storage storage;
    at::ScalarType dtype;
    int64_t elements;
    bool filled = false;
  };
  struct View {
    at::Storage storage;
    std::string root;
    int64_t offset;
    int64_t elements;
  };

  [[noreturn]] void bad(const std::string& key, const std::string& problem) const {
    fail(ErrorCode::file_format, "read " + file_->path() + ", storage " + key, problem);
  }

  PickleValue take_plain() {
    const StorageLoader none = [this](const StorageId& id) -> at::Storage { bad(id.key, "not where tensors stand"); };
    return take_pickle(left_, none, file_->path());
  }

  // The object comes before its data: tensors are made over storages that have a size, and get memory at the end.
  static at::Storage without_memory(int64_t elements, at::ScalarType dtype) {
    const std::size_t bytes = static_cast<std::size_t>(elements) * c10::elementSize(dtype);
    return {at::Storage::use_byte_size_t{}, bytes, at::DataPtr(nullptr, at::Device(at::kCPU)), nullptr, false};
  }

  at::Storage storage(const StorageId& id) {
    const auto bytes = checked_multiply(static_cast<uint64_t>(id.elements), c10::elementSize(id.dtype));
    if (!bytes || *bytes > file_->size()) bad(id.key, "larger than the file");
    auto root = roots_.find(id.key);
    if (root == roots_.end()) {
      root = roots_.emplace(id.key, Root{without_memory(id.elements, id.dtype), id.dtype, id.elements}).first;
    } else if (root->second.dtype != id.dtype || root->second.elements != id.elements) {
      bad(id.key, "named with two types or sizes");
    }
    return id.view ? part_of(id) : root->second.storage;
  }

  at::Storage part_of(const StorageId& id) {
    const auto& [key, offset, elements] = *id.view;
    if (offset < 0 || elements < 0 || offset > id.elements || elements > id.elements - offset) {
      bad(key, "a view that lies outside its storage");
    }
    const auto known = views_.find(key);
    if (known == views_.end()) {
      return views_.emplace(key, View{without_memory(elements, id.dtype), id.key, offset, elements})
          .first->second.storage;
    }
    const View& view = known->second;
    if (view.root != id.key || view.offset != offset || view.elements != elements) bad(key, "two views of one name");
    return view.storage;
  }

  void fill(const PickleValue::Items& keys) {
    ByteReader data(left_, file_->path());
    const uint64_t start = file_->size() - left_.size();
    for (const PickleValue& item : keys) {
      const std::string& key = item.as_string(file_->path() + ", a storage's key");
      const auto found = roots_.find(key);
      if (found == roots_.end()) bad(key, "no tensor lies in it");
      Root& root = found->second;
      if (std::exchange(root.filled, true)) bad(key, "its data is there twice");
      const int64_t elements = data.read<int64_t>();
      if (elements != root.elements) bad(key, text("of ", root.elements, " elements, but there are ", elements));
      const uint64_t offset = start + data.position();
      data.take(root.storage.nbytes());
      root.storage.set_data_ptr_noswap(mapped_pointer(file_, offset, root.storage.nbytes(), root.dtype));
      if (root.dtype == at::kBool) require_booleans(root.storage, file_->path() + ", storage " + key);
    }
    for (const auto& [key, root] : roots_) {
      if (!root.filled) bad(key, "its data is missing");
    }
    for (const auto& [key, view] : views_) fill_view(view);
  }

  // The view's memory is its root's, and keeps it.
  void fill_view(const View& view) const {
    const Root& root = roots_.at(view.root);
    const auto offset = static_cast<std::size_t>(view.offset) * c10::elementSize(root.dtype);
    void* data = static_cast<uint8_t*>(const_cast<void*>(root.storage.data())) + offset;
    const auto release = [](void* held) { delete static_cast<at::Storage*>(held); };
    view.storage.set_data_ptr_noswap({data, new at::Storage(root.storage), release, at::Device(at::kCPU)});
  }

  std::shared_ptr<const MappedFile> file_;
  std::span<const uint8_t> left_;
  std::unordered_map<std::string, Root> roots_;
  std::unordered_map<std::string, View> views_;
};

}  // namespace

bool looks_like_legacy_checkpoint(const MappedFile& file) {
  const std::span<const uint8_t> bytes = file.bytes();
  constexpr std::string_view tar = "ustar";
  if (bytes.size() >= 512 && std::equal(tar.begin(), tar.end(), bytes.begin() + 257)) {
    fail(ErrorCode::unsupported, "read " + file.path(), "a tar archive, as PyTorch 0.1 wrote checkpoints",
         {.expected = "a file of torch.save since 0.2, or safetensors",
          .hint = "In Python, once, if you trust the file: torch.save(torch.load(path, weights_only=False), path)."});
  }
  return magic_size(bytes).has_value();
}

PickleValue read_legacy_checkpoint(const std::shared_ptr<const MappedFile>& file) {
  return LegacyReader(file).read();
}

}  // namespace ta
