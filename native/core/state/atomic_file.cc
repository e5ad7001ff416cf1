#include "core/state/atomic_file.h"

#include <atomic>

#include "core/error.h"

namespace ta {

void write_file_atomically(const std::string& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

std::string temporary_name(const std::string& path, unsigned long process) {
  static std::atomic<unsigned long> count{0};
#ifdef _WIN32
  const std::size_t slash = path.find_last_of("/\\");
#else
  const std::size_t slash = path.find_last_of('/');
#endif
  const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  // A long name is cut so that the addition cannot push it past the file system's limit of 255 bytes; never inside a
  // UTF-8 character, which some file systems refuse.
  std::string name = path.substr(folder.size());
  if (name.size() > 200) {
    std::size_t end = 200;
    while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xC0) == 0x80) --end;
    name.resize(end);
  }
  return text(folder, ".", name, ".", process, "-", count++, ".tmp");
}

}  // namespace ta
