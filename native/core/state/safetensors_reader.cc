#include <algorithm>

#include "core/error.h"
#include "core/state/bytes.h"
#include "core/state/checked_math.h"
#include "core/state/dtype.h"
#include "core/state/json.h"
#include "core/state/mapped_storage.h"
#include "core/state/safetensors.h"

namespace ta {
namespace {

constexpr uint64_t max_header = 100'000'000;
constexpr const char* metadata_key = "__metadata__";

struct Stored {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  uint64_t begin;
  uint64_t end;
};

[[noreturn]] void bad(const std::string& path, const std::string& problem, ErrorDetail detail = {}) {
  fail(ErrorCode::file_format, "read " + path, problem, std::move(detail));
}

const Json& member(const Json& info, const char* key, const std::string& what) {
  if (const Json* value = info.find(key)) return *value;
  fail(ErrorCode::file_format, "read " + what, text("the header has no '", key, "' for it"));
}

Stored read_info(const std::string& path, const std::string& name, const Json& info) {
  const std::string what = path + ", tensor '" + name + "'";
  info.as_object(what);
  const std::string& dtype_text = member(info, "dtype", what).as_string(what + ", dtype");
  const auto dtype = dtype_from_safetensors(dtype_text);
  if (!dtype) {
    fail(ErrorCode::unsupported, "read " + what, "element type not supported",
         {.expected = "F64, F32, F16, BF16, I64, I32, I16, I8, U8 or BOOL",
          .got = "'" + dtype_text + "'",
          .hint = "Convert the file to one of these."});
  }
  const Json::Array& sizes = member(info, "shape", what).as_array(what + ", shape");
  if (sizes.size() > 64) bad(path, "tensor '" + name + "' has more than 64 dimensions");
  std::vector<int64_t> shape;
  std::optional<uint64_t> bytes = c10::elementSize(*dtype);
  for (const Json& size : sizes) {
    shape.push_back(static_cast<int64_t>(size.as_size(what + ", shape")));
    bytes = bytes ? checked_multiply(*bytes, static_cast<uint64_t>(shape.back())) : bytes;
  }
  const Json::Array& offsets = member(info, "data_offsets", what).as_array(what + ", data_offsets");
  if (offsets.size() != 2) bad(path, "tensor '" + name + "' needs two data_offsets");
  const uint64_t begin = offsets[0].as_size(what + ", data_offsets");
  const uint64_t end = offsets[1].as_size(what + ", data_offsets");
  if (end < begin || !bytes || *bytes != end - begin) {
    bad(path, "tensor '" + name + "' has data of another size than its shape",
        {.expected = bytes ? text(*bytes, " bytes for ", dtype_text, " ", at::IntArrayRef(shape)) : "a shape that fits",
         .got = text("bytes ", begin, " to ", end)});
  }
  return {name, *dtype, std::move(shape), begin, end};
}

// Sorted by place, the tensors must cover the data exactly.
void require_exact_cover(const std::string& path, const std::vector<Stored>& tensors, uint64_t data_size) {
  std::vector<const Stored*> sorted;
  sorted.reserve(tensors.size());
  for (const Stored& tensor : tensors) sorted.push_back(&tensor);
  std::sort(sorted.begin(), sorted.end(),
            [](const Stored* a, const Stored* b) { return std::pair(a->begin, a->end) < std::pair(b->begin, b->end); });
  uint64_t covered = 0;
  for (const Stored* tensor : sorted) {
    if (tensor->begin != covered) {
      bad(path, "tensor '" + tensor->name + (tensor->begin < covered ? "' overlaps another" : "' follows a gap"),
          {.expected = text("data from byte ", covered), .got = text("from byte ", tensor->begin)});
    }
    covered = tensor->end;
  }
  if (covered != data_size) {
    bad(path, "the tensors do not fill the file",
        {.expected = text(covered, " bytes of data"),
         .got = text(data_size),
         .hint = covered > data_size ? "The file was not copied to its end: write or download it again; in the cache "
                                       "of the hub delete it first."
                                     : ""});
  }
}

}  // namespace

StateDict read_safetensors(const std::string& path, SafetensorsMetadata* metadata) {
  return read_safetensors(MappedFile::open(path), metadata);
}

StateDict read_safetensors(const std::shared_ptr<const MappedFile>& file, SafetensorsMetadata* metadata) {
  const std::string& path = file->path();
  ByteReader reader(file->bytes(), path);
  const uint64_t header_size = reader.read<uint64_t>();
  if (header_size > max_header) {
    bad(path, "safetensors header too large",
        {.expected = text("at most ", max_header, " bytes"), .got = text(header_size)});
  }
  const std::string_view header = reader.take_text(header_size);
  if (header.empty() || header.front() != '{') bad(path, "not a safetensors file: the header does not begin with '{'");
  const std::string header_name = path + " (safetensors header)";
  const Json json = parse_json(header, header_name, {.bytes = max_header, .depth = 8});
  const uint64_t data_start = reader.position();

  std::vector<Stored> stored;
  for (const auto& [name, info] : json.as_object(header_name)) {
    if (name != metadata_key) {
      stored.push_back(read_info(path, name, info));
      continue;
    }
    for (const auto& [key, value] : info.as_object(path + ", __metadata__")) {
      const std::string& meaning = value.as_string(path + ", __metadata__ '" + key + "'");
      if (metadata) metadata->emplace_back(key, meaning);
    }
  }
  require_exact_cover(path, stored, file->size() - data_start);

  StateDict tensors;
  for (const Stored& one : stored) {
    const std::string what = path + ", tensor '" + one.name + "'";
    const at::Storage storage = mapped_storage(file, data_start + one.begin, one.end - one.begin, one.dtype);
    if (one.dtype == at::kBool) require_booleans(storage, what);
    tensors.add(one.name, tensor_in_storage(storage, one.dtype, 0, one.shape, dense_strides(one.shape), what));
  }
  return tensors;
}

}  // namespace ta
