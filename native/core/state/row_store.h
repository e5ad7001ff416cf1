// Values of rows on disk, found by what the rows hold. A folder has segments, `<name>-<random>.rows`, each written by
// one process and only at its end; every process reads all of its name's, so that several may share a folder.
//   segment: "TAROWS01", width u32, type u32 (0 float32, 1 bfloat16), then records
//   record:  u32 "ROW1", tokens u32, hash u64 u64, CRC-32 of the values u32, CRC-32 of the 28 bytes before u32, values
// A record that was cut off ends its segment; one whose values do not have their checksum is not there, whenever that
// happens: every reading checks.
//
// Values are read by position and not through a map of the file. Several programs share a folder, on a disk that is
// anybody's: where one cuts a mapped file short, reading from the map raises SIGBUS, which no code can turn into an
// error without a signal handler for the whole process, Node's and libtorch's threads among it; and a map can change
// between its check and its use. A map would save nothing either: a batch's rows lie far apart on the disk and side by
// side in its tensor (as float32, whatever the file has), so that one copy out of the system's cache is made both ways,
// and a read makes it without a page fault for every 4 KiB: 8 rows of 196 kB out of 800 MB in the cache took 2.8 ms to
// read, 2.9 to copy out of a new map, 2.5 out of one whose pages had been touched. (Weights are mapped: they are used
// where they lie.)
#pragma once

#include <ATen/core/Tensor.h>

#include <fstream>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/state/content_hash.h"

namespace ta {

struct RowStoreOptions {
  std::string folder;                 ///< made where it is missing
  std::string name;                   ///< of what the rows' values were made with: letters, digits, '-'
  int64_t width = 0;                  ///< values of one token
  at::ScalarType dtype = at::kFloat;  ///< at::kFloat or at::kBFloat16
  uint64_t max_bytes = 0;             ///< of all segments in the folder together
};

class RowStore {
 public:
  /// Throws ERR_FILE_IO where the folder cannot be made or read.
  explicit RowStore(RowStoreOptions options);

  bool has(const ContentHash& row, int64_t tokens) const;
  /// Into out [tokens, width] float32. False: there is none, or the file is damaged there.
  bool read(const ContentHash& row, at::Tensor out);
  /// values [tokens, width], float32. Where there is no room, segments of other names go, those first that were changed
  /// longest ago; where there is none even so, or the disk takes no more, nothing is kept from then on.
  void write(const ContentHash& row, const at::Tensor& values);

  /// Of all segments in the folder.
  uint64_t bytes() const { return bytes_; }
  bool full() const { return full_; }

 private:
  struct Record {
    uint32_t segment, tokens, checksum;
    uint64_t offset;  ///< of the values
  };
  struct Key {
    size_t operator()(const ContentHash& row) const { return static_cast<size_t>(row.high); }
  };
  void scan(const std::string& path);
  bool begin_segment();
  bool make_room(uint64_t size);
  uint64_t size_of(int64_t tokens) const;

  RowStoreOptions options_;
  std::vector<std::fstream> segments_;
  std::unordered_map<ContentHash, Record, Key> records_;
  int64_t own_ = -1;  ///< the segment that this store writes
  uint64_t own_size_ = 0, bytes_ = 0;
  bool full_ = false;
};

}  // namespace ta
