// MappedFile on Linux and macOS.
#ifndef _WIN32
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "core/state/checked_math.h"
#include "core/state/mapped_file.h"

namespace ta {
namespace {

[[noreturn]] void fail_io(const std::string& path, const std::string& problem, const std::string& hint = {}) {
  fail(ErrorCode::file_io, "open " + path, problem, {.hint = hint});
}

// Closes the descriptor on every way out; the map outlives it.
struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  if (path.find('\0') != std::string::npos) fail_io(path, "the path contains a zero byte");
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.value < 0) fail_io(path, std::strerror(errno), errno == ENOENT ? "Check the path." : "");
  struct stat status {};
  if (::fstat(file.value, &status) != 0) fail_io(path, std::strerror(errno));
  if (S_ISDIR(status.st_mode)) fail_io(path, "is a folder, not a file");
  if (!S_ISREG(status.st_mode)) fail_io(path, "is not a regular file");
  const uint64_t size = static_cast<uint64_t>(status.st_size);
  void* data = nullptr;
  if (size > 0) {
    data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value, 0);
    if (data == MAP_FAILED) fail_io(path, text("cannot map ", size, " bytes: ", std::strerror(errno)));
  }
  try {
    return std::shared_ptr<const MappedFile>(new MappedFile(path, static_cast<const uint8_t*>(data), size));
  } catch (...) {
    if (data) ::munmap(data, size);
    throw;
  }
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<uint8_t*>(data_), size_);
}

void MappedFile::drop_pages(uint64_t offset, uint64_t size) const {
  if (!in_range(offset, size, size_) || size == 0) return;
  const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t start = offset / page * page;
  // A hint that the system refuses is no failure.
  (void)::madvise(const_cast<uint8_t*>(data_ + start), offset + size - start, MADV_DONTNEED);
}

}  // namespace ta
#endif
