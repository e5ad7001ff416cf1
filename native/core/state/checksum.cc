#include "core/state/checksum.h"

#include <array>

namespace ta {
namespace {

// tables[k][b]: the checksum of byte b followed by k zero bytes; eight tables take eight bytes a turn.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0xEDB88320u : 0u);
    tables[0][byte] = value;
  }
  for (std::size_t k = 1; k < tables.size(); ++k) {
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const uint32_t shorter = tables[k - 1][byte];
      tables[k][byte] = (shorter >> 8) ^ tables[0][shorter & 0xFF];
    }
  }
  return tables;
}

constexpr Tables tables = make_tables();

}  // namespace

uint32_t crc32(const void* data, std::size_t size, uint32_t previous) {
  const uint8_t* next = static_cast<const uint8_t*>(data);
  uint32_t value = ~previous;
  for (; size >= 8; size -= 8, next += 8) {
    value ^= static_cast<uint32_t>(next[0]) | static_cast<uint32_t>(next[1]) << 8 |
             static_cast<uint32_t>(next[2]) << 16 | static_cast<uint32_t>(next[3]) << 24;
    value = tables[7][value & 0xFF] ^ tables[6][value >> 8 & 0xFF] ^ tables[5][value >> 16 & 0xFF] ^
            tables[4][value >> 24] ^ tables[3][next[4]] ^ tables[2][next[5]] ^ tables[1][next[6]] ^ tables[0][next[7]];
  }
  for (; size > 0; --size, ++next) value = (value >> 8) ^ tables[0][(value ^ *next) & 0xFF];
  return ~value;
}

}  // namespace ta
