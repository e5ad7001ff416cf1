// The numbers of the zip format that reader and writer share.
#pragma once

#include <cstdint>

namespace ta::zip {

constexpr uint32_t local_signature = 0x04034b50;
constexpr uint32_t central_signature = 0x02014b50;
constexpr uint32_t end_signature = 0x06054b50;
constexpr uint32_t zip64_end_signature = 0x06064b50;
constexpr uint32_t zip64_locator_signature = 0x07064b50;
constexpr uint64_t end_size = 22;
constexpr uint64_t locator_size = 20;
constexpr uint64_t central_size = 46;
constexpr uint64_t local_size = 30;
// In a 32-bit field: the value stands in the zip64 record instead.
constexpr uint32_t in_zip64 = 0xFFFFFFFF;

}  // namespace ta::zip
