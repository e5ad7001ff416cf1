#include "core/state/mapped_file.h"

#include <utility>

#include "core/error.h"
#include "core/state/checked_math.h"

namespace ta {

MappedFile::MappedFile(std::string path, const uint8_t* data, uint64_t size)
    : path_(std::move(path)), data_(data), size_(size) {}

std::span<const uint8_t> MappedFile::range(uint64_t offset, uint64_t size, const std::string& what) const {
  if (!in_range(offset, size, size_)) {
    fail(ErrorCode::file_format, "read " + path_, what + " lies outside the file",
         {.expected = text("at most ", size_, " bytes"),
          .got = text(size, " bytes from byte ", offset),
          .hint = "The file is damaged or was not copied to its end: write or download it again; in the cache of the "
                  "hub delete it first."});
  }
  return bytes().subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(size));
}

}  // namespace ta
