// Names a content by 128 bits of it, for files that are found again by what they were made from. Two lanes read the
// same words, each through a mix of its own that is one-to-one, so that contents of one length and one differing word
// never share a hash. No defence against someone who makes two contents collide on purpose.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace ta {

struct ContentHash {
  uint64_t high = 0x9e3779b97f4a7c15;
  uint64_t low = 0xd1b54a32d192ed03;

  bool operator==(const ContentHash&) const = default;

  void add(const void* data, std::size_t size) {
    const auto* bytes = static_cast<const unsigned char*>(data);
    for (; size >= 8; bytes += 8, size -= 8) {
      uint64_t word;
      std::memcpy(&word, bytes, 8);
      add_word(word);
    }
    uint64_t rest = 0;
    for (std::size_t i = 0; i < size; ++i) rest |= uint64_t{bytes[i]} << (8 * i);
    add_word(rest);
    add_word(size);
  }
  void add(std::string_view text) { add(text.data(), text.size()); }

  /// 32 hexadecimal digits.
  std::string hex() const {
    std::string digits;
    for (uint64_t half : {high, low})
      for (int shift = 60; shift >= 0; shift -= 4) digits.push_back("0123456789abcdef"[half >> shift & 15]);
    return digits;
  }

 private:
  void add_word(uint64_t word) {
    high = mixed(high ^ word, 0xbf58476d1ce4e5b9, 29);
    low = mixed(low + word * 0x94d049bb133111eb, 0xff51afd7ed558ccd, 32);
  }
  static uint64_t mixed(uint64_t value, uint64_t factor, int shift) {
    value *= factor;
    value ^= value >> shift;
    value *= factor;
    return value ^ value >> shift;
  }
};

}  // namespace ta
