#include "core/state/zip_writer.h"

#include "core/error.h"
#include "core/state/bytes.h"
#include "core/state/checked_math.h"
#include "core/state/checksum.h"
#include "core/state/zip_format.h"

namespace ta {
namespace {

constexpr uint64_t data_alignment = 64;
// 1 January 1980, the first day that zip knows: the same content gives the same file.
constexpr uint32_t date_and_time = 0x00210000;
constexpr uint16_t version_needed = 45;
// The names are UTF-8.
constexpr uint16_t flags = 0x0800;

void append_u16(std::string& out, uint64_t value) {
  append_little_endian(out, static_cast<uint16_t>(value));
}
void append_u32(std::string& out, uint32_t value) {
  append_little_endian(out, value);
}
void append_u64(std::string& out, uint64_t value) {
  append_little_endian(out, value);
}

}  // namespace

// Field 1 holds those of the values, in order, that do not fit 32 bits.
std::string ZipWriter::zip64_extra(std::initializer_list<uint64_t> values) const {
  std::string body;
  for (const uint64_t value : values) {
    if (value >= threshold_) append_u64(body, value);
  }
  if (body.empty()) return body;
  std::string extra;
  append_u16(extra, 1);
  append_u16(extra, body.size());
  return extra + body;
}

// What an entry's header and its record in the directory have in common.
std::string ZipWriter::shared_fields(const Entry& entry, std::size_t extra) const {
  std::string fields;
  append_u16(fields, version_needed);
  append_u16(fields, flags);
  append_u16(fields, 0);  // not compressed
  append_u32(fields, date_and_time);
  append_u32(fields, entry.crc);
  append_u32(fields, in_32_bits(entry.size));
  append_u32(fields, in_32_bits(entry.size));
  append_u16(fields, entry.name.size());
  append_u16(fields, extra);
  return fields;
}

void ZipWriter::add(const std::string& name, const void* data, std::size_t size) {
  if (name.empty() || name.size() > 0xFFFF)
    fail(ErrorCode::invalid_argument, "write zip", "entry name of a wrong size");
  const Entry entry{name, crc32(data, size), size, file_.size()};
  // A local header carries both sizes or none in 64 bits.
  std::string extra = zip64_extra({entry.size, entry.size});
  const uint64_t unpadded = entry.header + zip::local_size + name.size() + extra.size();
  // The padding is an extra field of PyTorch's own kind, "FB", which takes four bytes at least.
  const uint64_t padding = round_up(unpadded + 4, data_alignment) - unpadded - 4;
  extra += "FB";
  append_u16(extra, padding);
  extra.append(padding, 'Z');

  std::string header;
  append_u32(header, zip::local_signature);
  header += shared_fields(entry, extra.size());
  file_.write(header);
  file_.write(name);
  file_.write(extra);
  file_.write(data, size);
  entries_.push_back(entry);
}

void ZipWriter::finish() {
  const uint64_t start = file_.size();
  for (const Entry& entry : entries_) {
    const std::string extra = zip64_extra({entry.size, entry.size, entry.header});
    std::string record;
    append_u32(record, zip::central_signature);
    append_u16(record, version_needed);  // and the version that made it
    record += shared_fields(entry, extra.size());
    append_u16(record, 0);  // comment
    append_u16(record, 0);  // disk
    append_u16(record, 0);  // internal attributes
    append_u32(record, 0);  // external attributes
    append_u32(record, in_32_bits(entry.header));
    file_.write(record + entry.name + extra);
  }
  const uint64_t size = file_.size() - start;
  const uint64_t end = file_.size();
  const bool wide = start >= threshold_ || size >= threshold_ || entries_.size() >= 0xFFFF;
  std::string tail;
  if (wide) {
    append_u32(tail, zip::zip64_end_signature);
    append_u64(tail, 44);  // what follows in this record
    append_u16(tail, version_needed);
    append_u16(tail, version_needed);
    append_u32(tail, 0);
    append_u32(tail, 0);
    append_u64(tail, entries_.size());
    append_u64(tail, entries_.size());
    append_u64(tail, size);
    append_u64(tail, start);
    append_u32(tail, zip::zip64_locator_signature);
    append_u32(tail, 0);
    append_u64(tail, end);
    append_u32(tail, 1);
  }
  append_u32(tail, zip::end_signature);
  append_u16(tail, 0);
  append_u16(tail, 0);
  append_u16(tail, wide ? 0xFFFF : entries_.size());
  append_u16(tail, wide ? 0xFFFF : entries_.size());
  append_u32(tail, wide ? zip::in_zip64 : static_cast<uint32_t>(size));
  append_u32(tail, wide ? zip::in_zip64 : static_cast<uint32_t>(start));
  append_u16(tail, 0);
  file_.write(tail);
}

}  // namespace ta
