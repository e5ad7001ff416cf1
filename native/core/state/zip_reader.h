// Reads a zip archive whose entries are stored without compression, as PyTorch's are: every entry is then a range of
// the mapped file.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/state/mapped_file.h"

namespace ta {

struct ZipEntry {
  std::string name;
  uint64_t offset;  // of the data, in the file
  uint64_t size;
  uint32_t crc;
  bool compressed;
};

class ZipReader {
 public:
  // Fails with ERR_FILE_FORMAT on anything irregular: entries outside the file, a name given twice, a local header that
  // contradicts the directory.
  explicit ZipReader(std::shared_ptr<const MappedFile> file);

  static bool looks_like_zip(std::span<const uint8_t> bytes);

  const std::vector<ZipEntry>& entries() const { return entries_; }
  const ZipEntry* find(const std::string& name) const;
  // Fails with ERR_UNSUPPORTED on an entry that is compressed.
  std::span<const uint8_t> data(const ZipEntry& entry) const;

  // Fails with ERR_FILE_FORMAT when the bytes are not those that were written.
  void verify(const ZipEntry& entry) const;

 private:
  std::shared_ptr<const MappedFile> file_;
  std::vector<ZipEntry> entries_;
  std::unordered_map<std::string, std::size_t> index_;
};

}  // namespace ta
