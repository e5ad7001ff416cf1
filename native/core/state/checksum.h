// CRC-32 as zip has it (polynomial 0xEDB88320). Every record of a checkpoint carries one, and ours are checked: PyTorch
// itself writes them and never looks at them, so a flipped bit in a weight loads there without a word.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ta {

// Continues from the checksum of what came before: crc32(b, crc32(a)) is the checksum of a followed by b.
uint32_t crc32(const void* data, std::size_t size, uint32_t previous = 0);

}  // namespace ta
