// AtomicFile on Windows.
#ifdef _WIN32
#include "core/state/windows_path.h"
// windows_path.h brings windows.h, which must come before the rest.
#include <algorithm>
#include <utility>

#include "core/state/atomic_file.h"

namespace ta {

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  if (path_.empty()) fail(ErrorCode::invalid_argument, "write file", "not a file name", {.got = "''"});
  for (int attempt = 0; attempt < 100 && !handle_; ++attempt) {
    temporary_ = temporary_name(path_, ::GetCurrentProcessId());
    const HANDLE file = ::CreateFileW(wide_path(temporary_).c_str(), GENERIC_WRITE, 0, nullptr, CREATE_NEW,
                                      FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file != INVALID_HANDLE_VALUE)
      handle_ = file;
    else if (::GetLastError() != ERROR_FILE_EXISTS)
      break;
  }
  if (!handle_) {
    temporary_.clear();
    fail_windows("write " + path_, "cannot create a file in the folder");
  }
}

AtomicFile::~AtomicFile() {
  discard();
}

void AtomicFile::write(const void* data, std::size_t size) {
  const char* next = static_cast<const char*>(data);
  std::size_t left = size;
  while (left > 0) {
    DWORD written = 0;
    const DWORD part = static_cast<DWORD>(std::min<std::size_t>(left, std::size_t{1} << 30));
    if (!::WriteFile(handle_, next, part, &written, nullptr) || written == 0) {
      fail_windows("write " + path_, "cannot write");
    }
    next += written;
    left -= written;
  }
  size_ += size;
}

void AtomicFile::commit() {
  if (!handle_) fail(ErrorCode::invalid_argument, "write " + path_, "the file was committed before");
  if (!::FlushFileBuffers(handle_)) fail_windows("write " + path_, "cannot sync");
  ::CloseHandle(std::exchange(handle_, nullptr));
  // Refused while another map of the target is open: the target stays as it is.
  if (!::MoveFileExW(wide_path(temporary_).c_str(), wide_path(path_).c_str(),
                     MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH)) {
    fail_windows("write " + path_, "cannot rename");
  }
  temporary_.clear();
}

void AtomicFile::discard() noexcept {
  if (handle_) ::CloseHandle(std::exchange(handle_, nullptr));
  if (temporary_.empty()) return;
  try {
    ::DeleteFileW(wide_path(temporary_).c_str());
  } catch (...) {
    // Only the name's conversion can throw, and that already worked once.
  }
  temporary_.clear();
}

}  // namespace ta
#endif
