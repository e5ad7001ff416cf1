// Mapped files, atomic files, checksums and zip archives.
#include <cstring>
#include <filesystem>
#include <thread>

#include "check.h"
#include "core/state/atomic_file.h"
#include "core/state/checked_math.h"
#include "core/state/checksum.h"
#include "core/state/mapped_file.h"
#include "core/state/zip_reader.h"
#include "core/state/zip_writer.h"

using check::contains;
using check::TemporaryFolder;
using ta::AtomicFile;
using ta::ErrorCode;
using ta::MappedFile;
using ta::ZipReader;
using ta::ZipWriter;
namespace fs = std::filesystem;

namespace {

std::size_t files_in(const std::string& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

std::string bytes_of(std::span<const uint8_t> bytes) {
  return {bytes.begin(), bytes.end()};
}

std::string zip_of(const TemporaryFolder& folder, const std::vector<std::pair<std::string, std::string>>& entries,
                   uint64_t threshold = ZipWriter::zip64_from) {
  AtomicFile file(folder.file("made.zip"));
  ZipWriter zip(file, threshold);
  for (const auto& [name, content] : entries) zip.add(name, content);
  zip.finish();
  file.commit();
  return check::read_file(folder.file("made.zip"));
}

ZipReader open_zip(const TemporaryFolder& folder, const std::string& bytes) {
  check::write_file(folder.file("read.zip"), bytes);
  return ZipReader(MappedFile::open(folder.file("read.zip")));
}

}  // namespace

TEST(crc32_is_that_of_zip) {
  CHECK_EQ(ta::crc32("", 0), 0u);
  // The check value that every description of this CRC gives.
  CHECK_EQ(ta::crc32("123456789", 9), 0xCBF43926u);
  const std::string text = "The quick brown fox jumps over the lazy dog";
  CHECK_EQ(ta::crc32(text.data(), text.size()), 0x414FA339u);
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    const uint32_t first = ta::crc32(text.data(), cut);
    CHECK_EQ(ta::crc32(text.data() + cut, text.size() - cut, first), 0x414FA339u);
  }
}

TEST(checked_math_notices_overflow) {
  const uint64_t most = ~uint64_t{0};
  CHECK_EQ(ta::checked_add(most - 1, 1).value(), most);
  CHECK(!ta::checked_add(most, 1));
  CHECK(!ta::checked_multiply(uint64_t{1} << 32, uint64_t{1} << 32));
  CHECK_EQ(ta::checked_multiply(0, most).value(), 0u);
  CHECK(ta::in_range(4, 6, 10));
  CHECK(!ta::in_range(4, 7, 10));
  CHECK(!ta::in_range(most, most, 10));
  CHECK_EQ(ta::round_up(65, 64), 128u);
  CHECK_EQ(ta::round_up(64, 64), 64u);
}

TEST(mapped_file_gives_the_bytes) {
  const TemporaryFolder folder;
  check::write_file(folder.file("a"), "hello");
  const auto file = MappedFile::open(folder.file("a"));
  CHECK_EQ(file->size(), 5u);
  CHECK_EQ(bytes_of(file->bytes()), "hello");
  CHECK_EQ(bytes_of(file->range(1, 3, "part")), "ell");
  CHECK_EQ(file->range(5, 0, "end").size(), 0u);
  CHECK(contains(CHECK_THROWS(ErrorCode::file_format, file->range(1, 5, "the tail")), "the tail"));
  CHECK_THROWS(ErrorCode::file_format, file->range(~uint64_t{0}, 2, "far"));
  // Hints change nothing, even out of range.
  file->drop_pages(0, 5);
  file->drop_pages(3, 100);
  CHECK_EQ(bytes_of(file->bytes()), "hello");
}

TEST(mapped_file_outlives_its_replacement) {
  const TemporaryFolder folder;
  check::write_file(folder.file("a"), "old content");
  const auto file = MappedFile::open(folder.file("a"));
  ta::write_file_atomically(folder.file("a"), "new");
  CHECK_EQ(bytes_of(file->bytes()), "old content");
  CHECK_EQ(check::read_file(folder.file("a")), "new");
}

TEST(mapped_file_refuses_what_is_no_file) {
  const TemporaryFolder folder;
  CHECK(contains(CHECK_THROWS(ErrorCode::file_io, MappedFile::open(folder.file("none"))), folder.file("none")));
  CHECK(contains(CHECK_THROWS(ErrorCode::file_io, MappedFile::open(folder.path())), "folder"));
  CHECK_THROWS(ErrorCode::file_io, MappedFile::open("/dev/null"));
  CHECK_THROWS(ErrorCode::file_io, MappedFile::open(std::string("a\0b", 3)));
  check::write_file(folder.file("empty"), "");
  CHECK_EQ(MappedFile::open(folder.file("empty"))->size(), 0u);
}

TEST(atomic_file_replaces_as_a_whole) {
  const TemporaryFolder folder;
  const std::string path = folder.file("weights");
  check::write_file(path, "old");
  {
    AtomicFile file(path);
    file.write("ne");
    file.write("w one");
    CHECK_EQ(file.size(), 7u);
    CHECK_EQ(check::read_file(path), "old");
    file.commit();
    CHECK_THROWS(ErrorCode::invalid_argument, file.commit());
  }
  CHECK_EQ(check::read_file(path), "new one");
  CHECK_EQ(files_in(folder.path()), 1u);
}

TEST(atomic_file_leaves_nothing_behind_without_commit) {
  const TemporaryFolder folder;
  const std::string path = folder.file("weights");
  check::write_file(path, "old");
  {
    AtomicFile file(path);
    file.write("half");
    CHECK_EQ(files_in(folder.path()), 2u);
  }
  CHECK_EQ(check::read_file(path), "old");
  CHECK_EQ(files_in(folder.path()), 1u);
}

TEST(atomic_file_errors_name_the_path) {
  const TemporaryFolder folder;
  CHECK(contains(CHECK_THROWS(ErrorCode::file_io, AtomicFile(folder.file("no/such/folder"))), "no/such/folder"));
  CHECK_THROWS(ErrorCode::file_io, AtomicFile(folder.path()));
  CHECK_THROWS(ErrorCode::invalid_argument, AtomicFile(""));
  CHECK_THROWS(ErrorCode::invalid_argument, AtomicFile(folder.path() + "/"));
  // A name at the file system's limit still gets a temporary one beside it.
  const std::string long_name = folder.file(std::string(255, 'n'));
  ta::write_file_atomically(long_name, "x");
  CHECK_EQ(check::read_file(long_name), "x");
}

TEST(atomic_file_writers_do_not_meet) {
  const TemporaryFolder folder;
  const std::string path = folder.file("shared");
  const auto write_many = [&](char letter) {
    for (int i = 0; i < 20; ++i) ta::write_file_atomically(path, std::string(10'000, letter));
  };
  std::thread other(write_many, 'a');
  write_many('b');
  other.join();
  const std::string content = check::read_file(path);
  CHECK_EQ(content.size(), 10'000u);
  CHECK(content == std::string(10'000, content[0]));
  CHECK_EQ(files_in(folder.path()), 1u);
}

TEST(zip_writes_and_reads_back) {
  const TemporaryFolder folder;
  const std::vector<std::pair<std::string, std::string>> entries = {
      {"a/data.pkl", "pickle"}, {"a/empty", ""}, {"a/data/0", std::string(1000, 'x')}, {"a/ü", "name"}};
  // Threshold 1: every size is written in 64 bits, as for a file past 4 GB.
  for (const uint64_t threshold : {ZipWriter::zip64_from, uint64_t{1}}) {
    const ZipReader zip = open_zip(folder, zip_of(folder, entries, threshold));
    CHECK_EQ(zip.entries().size(), entries.size());
    for (const auto& [name, content] : entries) {
      const ta::ZipEntry* entry = zip.find(name);
      CHECK(entry != nullptr);
      if (!entry) continue;
      CHECK_EQ(bytes_of(zip.data(*entry)), content);
      CHECK_EQ(entry->offset % 64, 0u);
      zip.verify(*entry);
    }
    CHECK(zip.find("a/data") == nullptr);
  }
}

TEST(zip_notices_one_flipped_bit) {
  const TemporaryFolder folder;
  std::string bytes = zip_of(folder, {{"data", "0123456789"}});
  bytes[bytes.find("0123456789") + 4] ^= 1;
  const ZipReader zip = open_zip(folder, bytes);
  const std::string message = CHECK_THROWS(ErrorCode::file_format, zip.verify(*zip.find("data")));
  CHECK(contains(message, "'data' is damaged"));
}

TEST(zip_lists_compressed_entries_and_does_not_read_them) {
  const TemporaryFolder folder;
  std::string bytes = zip_of(folder, {{"plain", "1234"}, {"packed", "5678"}});
  bytes[bytes.rfind("PK\x01\x02") + 10] = 8;
  const ZipReader zip = open_zip(folder, bytes);
  CHECK_EQ(bytes_of(zip.data(*zip.find("plain"))), "1234");
  CHECK(contains(CHECK_THROWS(ErrorCode::unsupported, zip.data(*zip.find("packed"))), "'packed' is compressed"));
  CHECK_THROWS(ErrorCode::unsupported, zip.verify(*zip.find("packed")));
}

TEST(zip_refuses_what_is_irregular) {
  const TemporaryFolder folder;
  const std::string good = zip_of(folder, {{"first", "1234"}, {"other", "5678"}});
  CHECK_THROWS(ErrorCode::file_format, open_zip(folder, ""));
  CHECK(contains(CHECK_THROWS(ErrorCode::file_format, open_zip(folder, good.substr(0, good.size() - 30))), "end"));
  CHECK_THROWS(ErrorCode::file_format, open_zip(folder, good.substr(20)));
  CHECK_THROWS(ErrorCode::file_format, open_zip(folder, good + "x"));

  // Fields of the second entry in the directory, by their offset there.
  const std::size_t directory = good.find("PK\x01\x02");
  const std::size_t second = good.find("PK\x01\x02", directory + 1);
  const auto changed = [&](std::size_t at, uint8_t value) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(value);
    return bytes;
  };
  CHECK_THROWS(ErrorCode::file_format, open_zip(folder, changed(second + 8, 1)));      // encrypted
  CHECK_THROWS(ErrorCode::file_format, open_zip(folder, changed(second + 20, 9)));     // packed size differs
  CHECK_THROWS(ErrorCode::file_format, open_zip(folder, changed(second + 45, 0x7F)));  // header far away
  CHECK_THROWS(ErrorCode::file_format, open_zip(folder, changed(second + 42, 3)));     // no header there
  CHECK_THROWS(ErrorCode::file_format, open_zip(folder, changed(second + 46, 'X')));   // another name
  std::string twice = good;
  for (std::size_t at = 0; (at = twice.find("other", at)) != std::string::npos;) twice.replace(at, 5, "first");
  CHECK(contains(CHECK_THROWS(ErrorCode::file_format, open_zip(folder, twice)), "twice"));
  std::string large = changed(second + 20, 200);
  large[second + 24] = static_cast<char>(200);
  CHECK_THROWS(ErrorCode::file_format, open_zip(folder, large));
  // More entries than the directory can hold.
  CHECK_THROWS(ErrorCode::file_format, open_zip(folder, changed(good.size() - 12, 200)));
}
