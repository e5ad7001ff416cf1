// Little-endian numbers in and out of bytes, never past the end. (Every format here is little-endian.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "core/error.h"

namespace ta {

class ByteReader {
 public:
  // `source` names the bytes in messages and must outlive the reader.
  ByteReader(std::span<const uint8_t> bytes, const std::string& source) : bytes_(bytes), source_(source) {}

  std::size_t position() const { return position_; }
  std::size_t left() const { return bytes_.size() - position_; }

  template <class Integer>
  Integer read() {
    using Unsigned = std::make_unsigned_t<Integer>;
    const std::span<const uint8_t> from = take(sizeof(Integer));
    Unsigned value = 0;
    for (std::size_t i = 0; i < sizeof(Integer); ++i) value |= static_cast<Unsigned>(Unsigned{from[i]} << (8 * i));
    return static_cast<Integer>(value);
  }

  std::span<const uint8_t> take(uint64_t size) {
    if (size > left()) {
      fail(ErrorCode::file_format, "read " + source_, text("the data ends too early at byte ", position_),
           {.expected = text(size, " more bytes"), .got = text(left())});
    }
    const std::span<const uint8_t> part = bytes_.subspan(position_, static_cast<std::size_t>(size));
    position_ += part.size();
    return part;
  }

  std::string_view take_text(uint64_t size) {
    const std::span<const uint8_t> part = take(size);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }

 private:
  std::span<const uint8_t> bytes_;
  const std::string& source_;
  std::size_t position_ = 0;
};

template <class Integer>
void append_little_endian(std::string& out, Integer value) {
  auto bits = static_cast<std::make_unsigned_t<Integer>>(value);
  for (std::size_t i = 0; i < sizeof(Integer); ++i) out.push_back(static_cast<char>(bits >> (8 * i) & 0xFF));
}

}  // namespace ta
