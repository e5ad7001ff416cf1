// A file that appears whole or not at all: written under a temporary name in the target's folder, synced, renamed.
// Whatever goes wrong before commit() returns, a file that was at `path` is still there with its old content.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ta {

class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  // Without commit() the temporary file is removed.
  ~AtomicFile();

  void write(const void* data, std::size_t size);
  void write(std::string_view bytes) { write(bytes.data(), bytes.size()); }
  uint64_t size() const { return size_; }

  // Syncs the file, renames it and syncs the folder; after it returns the file survives a power cut.
  void commit();

 private:
  void discard() noexcept;

  std::string path_;
  std::string temporary_;
  uint64_t size_ = 0;
#ifdef _WIN32
  void* handle_ = nullptr;
#else
  int descriptor_ = -1;
#endif
};

void write_file_atomically(const std::string& path, std::string_view bytes);

// "<folder>/.<name>.<process>-<count>.tmp": hidden, in the same folder, unlike that of any other writer.
std::string temporary_name(const std::string& path, unsigned long process);

}  // namespace ta
