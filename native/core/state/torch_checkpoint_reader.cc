#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/state/checked_math.h"
#include "core/state/mapped_storage.h"
#include "core/state/pickle_reader.h"
#include "core/state/torch_checkpoint.h"
#include "core/state/zip_reader.h"

namespace ta {
namespace {

constexpr uint64_t verify_below = uint64_t{64} << 20;

class CheckpointReader {
 public:
  explicit CheckpointReader(const std::shared_ptr<const MappedFile>& file) : file_(file), zip_(file) {}

  PickleValue read() {
    const ZipEntry& pickle = find_pickle();
    require_readable();
    zip_.verify(pickle);
    const StorageLoader load = [this](const StorageId& id) { return storage(id); };
    return read_pickle(zip_.data(pickle), load, file_->path());
  }

 private:
  // Everything lies in one folder of the archive, whatever its name.
  const ZipEntry& find_pickle() {
    constexpr std::string_view ending = "/data.pkl";
    for (const ZipEntry& entry : zip_.entries()) {
      if (!entry.name.ends_with(ending) || entry.name.find('/') != entry.name.size() - ending.size()) continue;
      folder_ = entry.name.substr(0, entry.name.size() - ending.size() + 1);
      return entry;
    }
    fail(ErrorCode::file_format, "read " + file_->path(), "a zip archive, but not a PyTorch checkpoint",
         {.expected = "an entry NAME/data.pkl", .got = name_list(names())});
  }

  void require_readable() const {
    if (zip_.find(folder_ + "constants.pkl")) {
      fail(ErrorCode::unsupported, "read " + file_->path(), "a TorchScript archive, not a checkpoint",
           {.hint = "In Python, save the weights with torch.save(model.state_dict(), path)."});
    }
    const ZipEntry* order = zip_.find(folder_ + "byteorder");
    if (!order) return;
    const std::span<const uint8_t> bytes = zip_.data(*order);
    if (std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()) != "little") {
      fail(ErrorCode::unsupported, "read " + file_->path(), "not in little-endian byte order");
    }
  }

  at::Storage storage(const StorageId& id) {
    const auto& [key, dtype, elements, view] = id;
    if (view)
      fail(ErrorCode::file_format, "read " + file_->path(), "a view of a storage, which is no part of this format");
    const std::string what = file_->path() + ", record data/" + key;
    const auto known = storages_.find(key);
    at::Storage storage = known == storages_.end() ? load(key, dtype, what) : known->second;
    const auto bytes = checked_multiply(static_cast<uint64_t>(elements), c10::elementSize(dtype));
    if (!bytes || *bytes > storage.nbytes()) {
      fail(ErrorCode::file_format, "read " + what, "shorter than the pickle says",
           {.expected = text(elements, " elements"), .got = text(storage.nbytes(), " bytes")});
    }
    if (reinterpret_cast<uintptr_t>(storage.data()) % c10::elementSize(dtype) != 0) {
      fail(ErrorCode::file_format, "read " + what, "used as two types, of which one is not aligned");
    }
    if (dtype == at::kBool) require_booleans(storage, what);
    return storage;
  }

  at::Storage load(const std::string& key, at::ScalarType dtype, const std::string& what) {
    const ZipEntry* entry = zip_.find(folder_ + "data/" + key);
    if (!entry) fail(ErrorCode::file_format, "read " + what, "the record is missing");
    if (file_->size() <= verify_below) zip_.verify(*entry);
    const uint64_t size = zip_.data(*entry).size();
    at::Storage storage = mapped_storage(file_, entry->offset, size, dtype);
    storages_.emplace(key, storage);
    return storage;
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const ZipEntry& entry : zip_.entries()) names.push_back(entry.name);
    return names;
  }

  std::shared_ptr<const MappedFile> file_;
  ZipReader zip_;
  std::string folder_;
  std::unordered_map<std::string, at::Storage> storages_;
};

}  // namespace

PickleValue read_torch_checkpoint(const std::string& path) {
  return read_torch_checkpoint(MappedFile::open(path));
}

PickleValue read_torch_checkpoint(const std::shared_ptr<const MappedFile>& file) {
  if (looks_like_legacy_checkpoint(*file)) return read_legacy_checkpoint(file);
  return CheckpointReader(file).read();
}

StateDict read_state_dict(const std::string& path) {
  return to_state_dict(read_torch_checkpoint(path), path);
}

StateDict to_state_dict(const PickleValue& value, const std::string& source) {
  if (const PickleValue* inner = value.find("state_dict"); inner && inner->is_dict()) {
    return to_state_dict(*inner, source);
  }
  StateDict tensors;
  for (const auto& [key, item] : value.as_entries(source)) {
    const std::string& name = key.as_string(source + ", a name");
    tensors.add(name, item.as_tensor(source + ", '" + name + "'"));
  }
  return tensors;
}

}  // namespace ta
