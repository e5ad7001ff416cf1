#include "core/exported/archive.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/error.h"
#include "core/exported/json_fields.h"
#include "core/exported/wire_types.h"
#include "core/state/json.h"
#include "core/state/mapped_file.h"
#include "core/state/mapped_storage.h"
#include "core/state/zip_reader.h"

namespace ta::exported {
namespace {

constexpr const char* export_again =
    "Export the model again with torch 2.9 or later: torch.export.save(torch.export.export(model, …), 'model.pt2').";

std::string_view bytes_of(const ZipReader& zip, const ZipEntry& entry) {
  const std::span<const uint8_t> bytes = zip.data(entry);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Every entry stands below one folder, which bears the name of the file that was first written.
std::string root_folder(const ZipReader& zip, const std::string& path) {
  if (!zip.entries().empty()) {
    const std::string& name = zip.entries().front().name;
    const std::size_t slash = name.find('/');
    if (slash != std::string::npos && zip.find(name.substr(0, slash + 1) + "archive_format"))
      return name.substr(0, slash + 1);
  }
  fail(ErrorCode::file_format, "read " + path, "not an archive of torch.export.save", {.hint = export_again});
}

const ZipEntry& required(const ZipReader& zip, const std::string& name, const std::string& path) {
  if (const ZipEntry* entry = zip.find(name)) return *entry;
  fail(ErrorCode::unsupported, "read " + path, "the archive has no '" + name + "'",
       {.expected = "the layout that torch 2.9 and later write", .hint = export_again});
}

// What stands in a small text file, without the line's end.
std::string word(const ZipReader& zip, const std::string& name, const std::string& path) {
  std::string_view bytes = bytes_of(zip, required(zip, name, path));
  while (!bytes.empty() && (bytes.back() == '\n' || bytes.back() == ' ')) bytes.remove_suffix(1);
  return std::string(bytes.substr(0, 64));
}

std::vector<int64_t> numbers(const Json& json, const std::string& what) {
  std::vector<int64_t> result;
  for (const Json& number : json.as_array(what)) result.push_back(field(number, "as_int", what).as_integer(what));
  return result;
}

}  // namespace

Archive Archive::open(const std::string& path) {
  return Archive(MappedFile::open(path));
}

Archive::Archive(std::shared_ptr<const MappedFile> file) : file_(std::move(file)), path_(file_->path()) {
  if (!ZipReader::looks_like_zip(file_->bytes())) {
    fail(ErrorCode::file_format, "read " + path_, "not a .pt2 archive: no zip file", {.hint = export_again});
  }
  const ZipReader zip(file_);
  const std::string root = root_folder(zip, path_);
  if (const std::string format = word(zip, root + "archive_format", path_); format != "pt2") {
    fail(ErrorCode::file_format, "read " + path_, "not an archive of torch.export.save",
         {.expected = "format 'pt2'", .got = "'" + format + "'", .hint = export_again});
  }
  if (zip.find(root + "byteorder")) {
    const std::string order = word(zip, root + "byteorder", path_);
    if (order != "little") fail(ErrorCode::unsupported, "read " + path_, "byte order '" + order + "' is not read");
  }
  const ZipEntry& model = required(zip, root + "models/model.json", path_);
  zip.verify(model);
  model_ = bytes_of(zip, model);
  read_tensors(zip, root + "data/weights/", "model_weights_config.json", weights_);
  read_tensors(zip, root + "data/constants/", "model_constants_config.json", constants_);
  const std::string extra = root + "extra/";
  for (const ZipEntry& entry : zip.entries()) {
    if (!entry.name.starts_with(extra) || entry.name.ends_with('/')) continue;
    zip.verify(entry);
    extra_.emplace(entry.name.substr(extra.size()), bytes_of(zip, entry));
  }
}

void Archive::read_tensors(const ZipReader& zip, const std::string& folder, const std::string& config,
                           StateDict& into) {
  const ZipEntry& listing = required(zip, folder + config, path_);
  const std::string source = path_ + " (" + config + ")";
  const Json json = parse_json(bytes_of(zip, listing), source, {.depth = 16});
  // By element type, too: what two types share is not worth a misaligned read.
  std::map<std::pair<std::string, at::ScalarType>, at::Storage> storages;
  for (const auto& [name, entry] : field(json, "config", source).as_object(source)) {
    const std::string what = path_ + ", tensor '" + name + "'";
    if (field(entry, "use_pickle", what).as_bool(what)) {
      fail(ErrorCode::unsupported, "read " + what, "it is stored as a pickle, which is a program",
           {.expected = "raw bytes", .hint = export_again});
    }
    const Json& meta = field(entry, "tensor_meta", what);
    const at::ScalarType dtype = wire_dtype(field(meta, "dtype", what).as_integer(what), what);
    require_dense_layout(field(meta, "layout", what).as_integer(what), what);
    const std::vector<int64_t> sizes = numbers(field(meta, "sizes", what), what);
    const std::vector<int64_t> strides = numbers(field(meta, "strides", what), what);
    const int64_t offset = field(field(meta, "storage_offset", what), "as_int", what).as_integer(what);
    const std::string& stored = field(entry, "path_name", what).as_string(what);
    auto found = storages.find({stored, dtype});
    if (found == storages.end()) {
      const ZipEntry& data = required(zip, folder + stored, path_);
      zip.data(data);
      found = storages.emplace(std::pair(stored, dtype), mapped_storage(file_, data.offset, data.size, dtype)).first;
    }
    if (dtype == at::kBool) require_booleans(found->second, what);
    into.add(name, tensor_in_storage(found->second, dtype, offset, sizes, strides, what));
  }
}

}  // namespace ta::exported
