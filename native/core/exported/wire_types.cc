#include "core/exported/wire_types.h"

#include "core/error.h"

namespace ta::exported {

at::ScalarType wire_dtype(int64_t number, const std::string& what) {
  switch (number) {
    case 1:
      return at::kByte;
    case 2:
      return at::kChar;
    case 3:
      return at::kShort;
    case 4:
      return at::kInt;
    case 5:
      return at::kLong;
    case 6:
      return at::kHalf;
    case 7:
      return at::kFloat;
    case 8:
      return at::kDouble;
    case 12:
      return at::kBool;
    case 13:
      return at::kBFloat16;
    case 10:
      return at::kComplexFloat;
    case 9:
    case 11:
      fail(ErrorCode::unsupported, "read " + what, "complex numbers of this size are not supported",
           {.expected = "complex64",
            .got = text("complex", 32 << (number - 9)),
            .hint = "Write it with complex64, which float32 gives"});
    default:
      fail(ErrorCode::unsupported, "read " + what, "element type not supported",
           {.expected = "integers, float64, float32, float16, bfloat16, complex64 or bool",
            .got = text("torch.export's type number ", number)});
  }
}

void require_dense_layout(int64_t number, const std::string& what) {
  constexpr int64_t strided = 7;
  if (number == strided) return;
  fail(ErrorCode::unsupported, "read " + what, "a tensor that is not dense",
       {.expected = "torch.strided", .got = text("torch.export's layout number ", number)});
}

at::MemoryFormat wire_memory_format(int64_t number, const std::string& what) {
  switch (number) {
    case 1:
      return at::MemoryFormat::Contiguous;
    case 2:
      return at::MemoryFormat::ChannelsLast;
    case 3:
      return at::MemoryFormat::ChannelsLast3d;
    case 4:
      return at::MemoryFormat::Preserve;
    default:
      fail(ErrorCode::file_format, "read " + what, text("no memory format has the number ", number));
  }
}

}  // namespace ta::exported
