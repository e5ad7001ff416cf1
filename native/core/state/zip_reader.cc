#include "core/state/zip_reader.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/state/bytes.h"
#include "core/state/checked_math.h"
#include "core/state/checksum.h"
#include "core/state/zip_format.h"

namespace ta {
namespace {

constexpr uint64_t max_entries = 1'000'000;

struct Directory {
  uint64_t entries;
  uint64_t size;
  uint64_t offset;
};

[[noreturn]] void bad(const MappedFile& file, const std::string& problem) {
  fail(ErrorCode::file_format, "read " + file.path(), "damaged zip archive: " + problem,
       {.hint = "Copy or download the file again."});
}

ByteReader reader_at(const MappedFile& file, uint64_t offset, uint64_t size, const char* what) {
  return {file.range(offset, size, what), file.path()};
}

// The end record is the last thing in the file but for a comment of at most 65,535 bytes.
uint64_t find_end(const MappedFile& file) {
  const uint64_t size = file.size();
  for (uint64_t comment = 0; comment <= 0xFFFF && comment + zip::end_size <= size; ++comment) {
    ByteReader reader = reader_at(file, size - comment - zip::end_size, zip::end_size, "the end record");
    if (reader.read<uint32_t>() != zip::end_signature) continue;
    reader.take(16);
    if (reader.read<uint16_t>() == comment) return size - comment - zip::end_size;
  }
  fail(ErrorCode::file_format, "read " + file.path(), "the zip archive has no end record",
       {.hint = "The file was not copied or downloaded to its end."});
}

Directory read_zip64_directory(const MappedFile& file, uint64_t end) {
  if (end < zip::locator_size) bad(file, "no zip64 locator");
  ByteReader locator = reader_at(file, end - zip::locator_size, zip::locator_size, "the zip64 locator");
  if (locator.read<uint32_t>() != zip::zip64_locator_signature) bad(file, "no zip64 locator");
  locator.take(4);
  ByteReader reader = reader_at(file, locator.read<uint64_t>(), 56, "the zip64 end record");
  if (reader.read<uint32_t>() != zip::zip64_end_signature) bad(file, "no zip64 end record");
  reader.take(20);
  const uint64_t entries_here = reader.read<uint64_t>();
  const uint64_t entries = reader.read<uint64_t>();
  if (entries_here != entries) bad(file, "an archive in several parts");
  const uint64_t size = reader.read<uint64_t>();
  return {entries, size, reader.read<uint64_t>()};
}

Directory find_directory(const MappedFile& file) {
  const uint64_t end = find_end(file);
  ByteReader reader = reader_at(file, end, zip::end_size, "the end record");
  reader.take(8);
  const uint16_t entries_here = reader.read<uint16_t>();
  const uint16_t entries = reader.read<uint16_t>();
  const uint32_t size = reader.read<uint32_t>();
  const uint32_t offset = reader.read<uint32_t>();
  if (entries_here != entries) bad(file, "an archive in several parts");
  Directory directory{entries, size, offset};
  if (entries == 0xFFFF || size == zip::in_zip64 || offset == zip::in_zip64)
    directory = read_zip64_directory(file, end);
  if (directory.entries > max_entries || directory.entries > directory.size / zip::central_size ||
      !in_range(directory.offset, directory.size, end)) {
    bad(file, "the directory lies outside the file");
  }
  return directory;
}

// Takes the 64-bit values from the entry's extra field, in their fixed order, for those that did not fit.
void apply_zip64(const MappedFile& file, std::span<const uint8_t> extra, std::initializer_list<uint64_t*> fields) {
  const bool needed = std::any_of(fields.begin(), fields.end(), [](const uint64_t* f) { return *f == zip::in_zip64; });
  if (!needed) return;
  ByteReader reader(extra, file.path());
  while (reader.left() >= 4) {
    const uint16_t id = reader.read<uint16_t>();
    const std::span<const uint8_t> body = reader.take(reader.read<uint16_t>());
    if (id != 1) continue;
    ByteReader values(body, file.path());
    for (uint64_t* field : fields) {
      if (*field == zip::in_zip64) *field = values.read<uint64_t>();
    }
    return;
  }
  bad(file, "a 64-bit size is missing");
}

ZipEntry read_entry(const MappedFile& file, ByteReader& directory, uint64_t directory_offset) {
  if (directory.read<uint32_t>() != zip::central_signature) bad(file, "the directory is cut short");
  directory.take(4);
  const uint16_t flags = directory.read<uint16_t>();
  const uint16_t method = directory.read<uint16_t>();
  directory.take(4);
  ZipEntry entry{};
  entry.crc = directory.read<uint32_t>();
  uint64_t packed = directory.read<uint32_t>();
  entry.size = directory.read<uint32_t>();
  const uint16_t name_size = directory.read<uint16_t>();
  const uint16_t extra_size = directory.read<uint16_t>();
  const uint16_t comment_size = directory.read<uint16_t>();
  directory.take(8);
  uint64_t header = directory.read<uint32_t>();
  entry.name = directory.take_text(name_size);
  apply_zip64(file, directory.take(extra_size), {&entry.size, &packed, &header});
  directory.take(comment_size);
  if (flags & 1) bad(file, "'" + entry.name + "' is encrypted");
  entry.compressed = method != 0;
  if (!entry.compressed && packed != entry.size) bad(file, "'" + entry.name + "' has two sizes");
  ByteReader local = reader_at(file, header, zip::local_size, "an entry");
  if (local.read<uint32_t>() != zip::local_signature) bad(file, "'" + entry.name + "' has no header");
  local.take(22);
  const uint16_t local_name = local.read<uint16_t>();
  const uint16_t local_extra = local.read<uint16_t>();
  ByteReader name = reader_at(file, header + zip::local_size, local_name, "an entry's name");
  if (name.take_text(local_name) != entry.name) bad(file, "'" + entry.name + "' has another name in its header");
  entry.offset = header + zip::local_size + local_name + local_extra;
  if (!in_range(entry.offset, packed, directory_offset)) bad(file, "'" + entry.name + "' lies outside the file");
  return entry;
}

}  // namespace

ZipReader::ZipReader(std::shared_ptr<const MappedFile> file) : file_(std::move(file)) {
  const Directory directory = find_directory(*file_);
  ByteReader reader = reader_at(*file_, directory.offset, directory.size, "the directory");
  entries_.reserve(static_cast<std::size_t>(directory.entries));
  for (uint64_t i = 0; i < directory.entries; ++i) {
    ZipEntry entry = read_entry(*file_, reader, directory.offset);
    if (!index_.emplace(entry.name, entries_.size()).second) bad(*file_, "'" + entry.name + "' appears twice");
    entries_.push_back(std::move(entry));
  }
}

bool ZipReader::looks_like_zip(std::span<const uint8_t> bytes) {
  static constexpr uint8_t magic[] = {'P', 'K', 3, 4};
  return bytes.size() >= 4 && std::equal(std::begin(magic), std::end(magic), bytes.begin());
}

const ZipEntry* ZipReader::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

std::span<const uint8_t> ZipReader::data(const ZipEntry& entry) const {
  if (entry.compressed) {
    fail(ErrorCode::unsupported, "read " + file_->path(), "'" + entry.name + "' is compressed",
         {.expected = "entries stored as they are, as torch.save writes them",
          .hint = "An archive that holds a weights file must be unpacked first."});
  }
  return file_->range(entry.offset, entry.size, "'" + entry.name + "'");
}

void ZipReader::verify(const ZipEntry& entry) const {
  const std::span<const uint8_t> bytes = data(entry);
  const uint32_t found = crc32(bytes.data(), bytes.size());
  if (found == entry.crc) return;
  fail(ErrorCode::file_format, "read " + file_->path(), "'" + entry.name + "' is damaged",
       {.expected = text("checksum ", entry.crc),
        .got = text(found),
        .hint = "Copy or download the file again. (PyTorch writes no checksums after "
                "torch.serialization.set_crc32_options(False): then save it again without that.)"});
}

}  // namespace ta
