// MappedFile on Windows.
#ifdef _WIN32
#include "core/state/windows_path.h"
// windows_path.h brings windows.h, which must come before the rest.
#include "core/state/mapped_file.h"

namespace ta {
namespace {

struct Handle {
  HANDLE value;
  ~Handle() {
    if (value && value != INVALID_HANDLE_VALUE) ::CloseHandle(value);
  }
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  const std::string operation = "open " + path;
  // FILE_SHARE_DELETE lets another program rename or remove the file while it is mapped.
  const Handle file{::CreateFileW(wide_path(path).c_str(), GENERIC_READ,
                                  FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr, OPEN_EXISTING,
                                  FILE_ATTRIBUTE_NORMAL, nullptr)};
  if (file.value == INVALID_HANDLE_VALUE) fail_windows(operation, "cannot open");
  if (::GetFileType(file.value) != FILE_TYPE_DISK) fail(ErrorCode::file_io, operation, "is not a regular file");
  LARGE_INTEGER length{};
  if (!::GetFileSizeEx(file.value, &length)) fail_windows(operation, "cannot tell the size");
  const uint64_t size = static_cast<uint64_t>(length.QuadPart);
  void* data = nullptr;
  if (size > 0) {
    // The view keeps the section alive; its handle may be closed.
    const Handle section{::CreateFileMappingW(file.value, nullptr, PAGE_READONLY, 0, 0, nullptr)};
    if (!section.value) fail_windows(operation, "cannot map");
    data = ::MapViewOfFile(section.value, FILE_MAP_READ, 0, 0, 0);
    if (!data) fail_windows(operation, "cannot map");
  }
  try {
    return std::shared_ptr<const MappedFile>(new MappedFile(path, static_cast<const uint8_t*>(data), size));
  } catch (...) {
    if (data) ::UnmapViewOfFile(data);
    throw;
  }
}

MappedFile::~MappedFile() {
  if (data_) ::UnmapViewOfFile(data_);
}

// The hint has no cheap equal.
void MappedFile::drop_pages(uint64_t, uint64_t) const {}

}  // namespace ta
#endif
