// Writes a zip archive the way PyTorch reads it: entries stored without compression, their data at multiples of 64
// bytes so that a map of the file can be used in place, a CRC-32 for each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/state/atomic_file.h"
#include "core/state/zip_format.h"

namespace ta {

class ZipWriter {
 public:
  static constexpr uint64_t zip64_from = 0xFFFFFFFF;

  // Sizes and offsets from `threshold` on are written in 64 bits; tests lower it, since a file of 4 GB is no test.
  explicit ZipWriter(AtomicFile& file, uint64_t threshold = zip64_from) : file_(file), threshold_(threshold) {}

  void add(const std::string& name, const void* data, std::size_t size);
  void add(const std::string& name, std::string_view bytes) { add(name, bytes.data(), bytes.size()); }

  // The directory; committing the file is left to its owner.
  void finish();

 private:
  struct Entry {
    std::string name;
    uint32_t crc;
    uint64_t size;
    uint64_t header;
  };

  uint32_t in_32_bits(uint64_t value) const {
    return value >= threshold_ ? zip::in_zip64 : static_cast<uint32_t>(value);
  }
  std::string shared_fields(const Entry& entry, std::size_t extra) const;
  std::string zip64_extra(std::initializer_list<uint64_t> values) const;

  AtomicFile& file_;
  uint64_t threshold_;
  std::vector<Entry> entries_;
};

}  // namespace ta
