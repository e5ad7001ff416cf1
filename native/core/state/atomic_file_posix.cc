// AtomicFile on Linux and macOS.
#ifndef _WIN32
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/state/atomic_file.h"

namespace ta {
namespace {

[[noreturn]] void fail_write(const std::string& path, const char* step, int error) {
  std::string hint;
  // lib/training/disk-error.ts knows a full disk by this sentence.
  if (error == ENOSPC || error == EDQUOT) hint = "Free some space; a file that was there before is unchanged.";
  if (error == ENOENT) hint = "Create the folder first.";
  if (error == EACCES || error == EPERM || error == EROFS) hint = "Check the folder's permissions.";
  fail(ErrorCode::file_io, "write " + path, text("cannot ", step, ": ", std::strerror(error)), {.hint = hint});
}

int sync_descriptor(int descriptor) {
#ifdef __APPLE__
  // fsync on macOS leaves the data in the drive's cache.
  if (::fcntl(descriptor, F_FULLFSYNC) == 0) return 0;
#endif
  return ::fsync(descriptor);
}

// Makes the rename itself durable. Some network file systems cannot sync a folder: that is not an error.
void sync_folder_of(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  (void)::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  if (path_.empty() || path_.back() == '/' || path_.find('\0') != std::string::npos) {
    fail(ErrorCode::invalid_argument, "write file", "not a file name", {.got = "'" + path_ + "'"});
  }
  struct stat status {};
  if (::stat(path_.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) fail_write(path_, "replace a folder", EISDIR);
  // O_EXCL never follows a link that someone laid at the temporary name. A leftover of a killed process with the same
  // number is stepped over.
  for (int attempt = 0; attempt < 100 && descriptor_ < 0; ++attempt) {
    temporary_ = temporary_name(path_, static_cast<unsigned long>(::getpid()));
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && errno != EEXIST) break;
  }
  if (descriptor_ < 0) {
    temporary_.clear();
    fail_write(path_, "create a file in the folder", errno);
  }
}

AtomicFile::~AtomicFile() {
  discard();
}

void AtomicFile::write(const void* data, std::size_t size) {
  const char* next = static_cast<const char*>(data);
  std::size_t left = size;
  while (left > 0) {
    // One call cannot write more than 2 GB on either system.
    const ssize_t written = ::write(descriptor_, next, std::min<std::size_t>(left, std::size_t{1} << 30));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail_write(path_, "write", written < 0 ? errno : EIO);
    next += written;
    left -= static_cast<std::size_t>(written);
  }
  size_ += size;
}

void AtomicFile::commit() {
  if (descriptor_ < 0) fail(ErrorCode::invalid_argument, "write " + path_, "the file was committed before");
  if (sync_descriptor(descriptor_) != 0) fail_write(path_, "sync", errno);
  const int closed = ::close(std::exchange(descriptor_, -1));
  if (closed != 0 && errno != EINTR) fail_write(path_, "close", errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_write(path_, "rename", errno);
  temporary_.clear();
  sync_folder_of(path_);
}

void AtomicFile::discard() noexcept {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

}  // namespace ta
#endif
