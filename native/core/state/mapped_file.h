// A file as read-only memory. Weights are tensors over such a map: nothing is copied, the pages belong to the system's
// file cache, and every process that loads the same model shares them.
//
// The pages cannot be written to: frozen weights are only read, and code that breaks this rule faults at once instead
// of changing a base model. A tensor over the map holds the map (see mapped_storage.h), so the order in which things
// are released does not matter. A file that another program cuts short while it is mapped raises SIGBUS on access;
// files written by this library are replaced by rename, which leaves existing maps intact.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace ta {

class MappedFile {
 public:
  // Paths are UTF-8 on every platform. Fails with ERR_FILE_IO on anything but a readable regular file.
  static std::shared_ptr<const MappedFile> open(const std::string& path);

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  const std::string& path() const { return path_; }
  const uint8_t* data() const { return data_; }
  uint64_t size() const { return size_; }
  std::span<const uint8_t> bytes() const { return {data_, static_cast<std::size_t>(size_)}; }

  // Fails with ERR_FILE_FORMAT when the range is not inside the file; `what` names the range in the message.
  std::span<const uint8_t> range(uint64_t offset, uint64_t size, const std::string& what) const;

  // The range is not read again soon: its pages need not stay resident. Its content does not change.
  void drop_pages(uint64_t offset, uint64_t size) const;

 private:
  MappedFile(std::string path, const uint8_t* data, uint64_t size);

  std::string path_;
  const uint8_t* data_;
  uint64_t size_;
};

}  // namespace ta
