#include "core/state/dtype.h"

#include "core/error.h"

namespace ta {
namespace {

struct Row {
  at::ScalarType dtype;
  const char* name;
  const char* safetensors;
  const char* storage;
};

constexpr Row rows[] = {
    {at::ScalarType::Double, "float64", "F64", "DoubleStorage"},
    {at::ScalarType::Float, "float32", "F32", "FloatStorage"},
    {at::ScalarType::Half, "float16", "F16", "HalfStorage"},
    {at::ScalarType::BFloat16, "bfloat16", "BF16", "BFloat16Storage"},
    {at::ScalarType::Long, "int64", "I64", "LongStorage"},
    {at::ScalarType::Int, "int32", "I32", "IntStorage"},
    {at::ScalarType::Short, "int16", "I16", "ShortStorage"},
    {at::ScalarType::Char, "int8", "I8", "CharStorage"},
    {at::ScalarType::Byte, "uint8", "U8", "ByteStorage"},
    {at::ScalarType::Bool, "bool", "BOOL", "BoolStorage"},
};

const Row* find(at::ScalarType dtype) {
  for (const Row& row : rows) {
    if (row.dtype == dtype) return &row;
  }
  return nullptr;
}

const Row& require(at::ScalarType dtype, const std::string& tensor) {
  if (const Row* row = find(dtype)) return *row;
  fail(ErrorCode::unsupported, "write '" + tensor + "'", "this element type cannot be written",
       {.expected = "a float, an integer of 8 to 64 bits or bool", .got = c10::toString(dtype)});
}

}  // namespace

std::optional<at::ScalarType> dtype_from_safetensors(std::string_view name) {
  for (const Row& row : rows) {
    if (row.safetensors == name) return row.dtype;
  }
  return std::nullopt;
}

std::optional<at::ScalarType> dtype_from_storage(std::string_view name) {
  for (const Row& row : rows) {
    if (row.storage == name) return row.dtype;
  }
  return std::nullopt;
}

std::string safetensors_name(at::ScalarType dtype, const std::string& tensor) {
  return require(dtype, tensor).safetensors;
}

std::string storage_name(at::ScalarType dtype, const std::string& tensor) {
  return require(dtype, tensor).storage;
}

std::string dtype_name(at::ScalarType dtype) {
  const Row* row = find(dtype);
  return row ? row->name : c10::toString(dtype);
}

}  // namespace ta
