#include "core/state/row_store.h"

#include <ATen/ops/empty_like.h>

#include <algorithm>

#include <filesystem>
#include <random>

#include "core/error.h"
#include "core/state/bytes.h"
#include "core/state/checksum.h"
#include "core/state/utf8_path.h"

namespace ta {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSegmentMagic = "TAROWS01";
constexpr uint32_t kRecordMagic = 0x31574f52;  // "ROW1"
constexpr size_t kSegmentHeader = 16, kRecordHeader = 32;

std::string segment_header(const RowStoreOptions& options) {
  std::string header(kSegmentMagic);
  append_little_endian(header, static_cast<uint32_t>(options.width));
  append_little_endian(header, uint32_t{options.dtype == at::kBFloat16});
  return header;
}

std::string record_header(const ContentHash& row, uint32_t tokens, uint32_t checksum) {
  std::string header;
  append_little_endian(header, kRecordMagic);
  append_little_endian(header, tokens);
  append_little_endian(header, row.high);
  append_little_endian(header, row.low);
  append_little_endian(header, checksum);
  append_little_endian(header, crc32(header.data(), header.size()));
  return header;
}

// Segments in the folder, those changed longest ago first.
std::vector<fs::directory_entry> segments_in(const std::string& folder) {
  std::vector<fs::directory_entry> found;
  std::error_code error;
  for (fs::directory_iterator entry(utf8_path(folder), error), end; !error && entry != end; entry.increment(error))
    if (entry->path().extension() == ".rows") found.push_back(*entry);
  if (error) fail(ErrorCode::file_io, "read the folder " + folder, error.message());
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    std::error_code ignored;
    return std::pair(a.last_write_time(ignored), a.path()) < std::pair(b.last_write_time(ignored), b.path());
  });
  return found;
}

bool is_of(const fs::path& segment, const std::string& name) {
  return segment.filename().u8string().starts_with(std::u8string(name.begin(), name.end()) + u8"-");
}

}  // namespace

RowStore::RowStore(RowStoreOptions options) : options_(std::move(options)) {
  std::error_code error;
  fs::create_directories(utf8_path(options_.folder), error);
  if (error) fail(ErrorCode::file_io, "make the folder " + options_.folder, error.message());
  for (const auto& segment : segments_in(options_.folder)) {
    const auto size = segment.file_size(error);
    if (!error) bytes_ += size;
    if (is_of(segment.path(), options_.name)) scan(utf8_text(segment.path()));
  }
}

uint64_t RowStore::size_of(int64_t tokens) const {
  return static_cast<uint64_t>(tokens * options_.width) * c10::elementSize(options_.dtype);
}

// What is no segment of this width and type is left alone: it has been made by something else.
void RowStore::scan(const std::string& path) {
  std::fstream file(utf8_path(path), std::ios::in | std::ios::binary);
  std::string header(kSegmentHeader, '\0');
  if (!file.read(header.data(), kSegmentHeader) || header != segment_header(options_)) return;
  std::error_code error;
  const uint64_t size = fs::file_size(utf8_path(path), error);
  const auto segment = static_cast<uint32_t>(segments_.size());
  std::string bytes(kRecordHeader, '\0');
  for (uint64_t at = kSegmentHeader; !error && at + kRecordHeader <= size;) {
    file.seekg(static_cast<std::streamoff>(at));
    if (!file.read(bytes.data(), kRecordHeader)) break;
    ByteReader reader({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, path);
    const auto magic = reader.read<uint32_t>(), tokens = reader.read<uint32_t>();
    ContentHash row;
    row.high = reader.read<uint64_t>(), row.low = reader.read<uint64_t>();
    const auto checksum = reader.read<uint32_t>();
    if (magic != kRecordMagic || reader.read<uint32_t>() != crc32(bytes.data(), kRecordHeader - 4)) break;
    at += kRecordHeader;
    if (size_of(tokens) > size - at) break;
    records_[row] = {segment, tokens, checksum, at};
    at += size_of(tokens);
  }
  file.clear();
  segments_.push_back(std::move(file));
}

bool RowStore::has(const ContentHash& row, int64_t tokens) const {
  const auto found = records_.find(row);
  return found != records_.end() && found->second.tokens == tokens;
}

bool RowStore::read(const ContentHash& row, at::Tensor out) {
  const auto found = records_.find(row);
  if (found == records_.end() || found->second.tokens != out.size(0)) return false;
  const auto& record = found->second;
  auto& file = segments_[record.segment];
  const bool direct = options_.dtype == at::kFloat;
  auto values = direct ? out : at::empty_like(out, out.options().dtype(options_.dtype));
  const auto size = size_of(record.tokens);
  file.seekg(static_cast<std::streamoff>(record.offset));
  const bool whole = static_cast<bool>(file.read(static_cast<char*>(values.data_ptr()), static_cast<long>(size)));
  if (!whole || crc32(values.data_ptr(), size) != record.checksum) {
    file.clear();
    records_.erase(found);
    return false;
  }
  if (!direct) out.copy_(values);
  return true;
}

void RowStore::write(const ContentHash& row, const at::Tensor& values) {
  if (full_ || has(row, values.size(0))) return;
  const auto stored = values.to(options_.dtype).contiguous();
  const auto size = size_of(values.size(0));
  if (!make_room(kRecordHeader + size) || (own_ < 0 && !begin_segment())) {
    full_ = true;
    return;
  }
  auto& file = segments_[own_];
  const auto checksum = crc32(stored.const_data_ptr(), size);
  const auto header = record_header(row, static_cast<uint32_t>(values.size(0)), checksum);
  file.seekp(static_cast<std::streamoff>(own_size_));
  file.write(header.data(), static_cast<std::streamsize>(header.size()));
  file.write(static_cast<const char*>(stored.const_data_ptr()), static_cast<std::streamsize>(size));
  if (!file.flush()) {
    // What is there of it is cut off: the scan ends before it.
    file.clear();
    full_ = true;
    return;
  }
  records_[row] = {static_cast<uint32_t>(own_), static_cast<uint32_t>(values.size(0)), checksum,
                   own_size_ + kRecordHeader};
  own_size_ += kRecordHeader + size;
  bytes_ += kRecordHeader + size;
}

bool RowStore::begin_segment() {
  std::random_device random;
  ContentHash unique;
  for (int i = 0; i < 4; ++i) {
    const auto word = random();
    unique.add(&word, sizeof word);
  }
  const auto path = utf8_path(options_.folder) / utf8_path(options_.name + "-" + unique.hex().substr(0, 16) + ".rows");
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary | std::ios::trunc);
  const auto header = segment_header(options_);
  if (!file.write(header.data(), static_cast<std::streamsize>(header.size())).flush()) return false;
  own_ = static_cast<int64_t>(segments_.size());
  own_size_ = kSegmentHeader;
  bytes_ += kSegmentHeader;
  segments_.push_back(std::move(file));
  return true;
}

bool RowStore::make_room(uint64_t size) {
  if (bytes_ + size + kSegmentHeader <= options_.max_bytes) return true;
  for (const auto& segment : segments_in(options_.folder)) {
    if (is_of(segment.path(), options_.name)) continue;
    std::error_code error;
    const auto freed = segment.file_size(error);
    if (error || !fs::remove(segment.path(), error)) continue;
    bytes_ -= std::min(bytes_, static_cast<uint64_t>(freed));
    if (bytes_ + size + kSegmentHeader <= options_.max_bytes) return true;
  }
  return false;
}

}  // namespace ta
