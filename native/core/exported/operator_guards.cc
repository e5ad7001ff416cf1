// What some of the allowed operators' kernels take on trust. A graph that a program wrote never fails here; one that
// was tampered with would read past a tensor's end.

#include <cmath>

#include "core/error.h"
#include "core/exported/operators.h"

namespace ta::exported {
namespace {

using Arguments = std::vector<c10::IValue>;

[[noreturn]] void refuse(const char* name, const std::string& expected, const std::string& got) {
  fail(ErrorCode::invalid_argument, name, "shapes that do not fit each other", {.expected = expected, .got = got});
}

// Attention takes the values' length from the keys.
void guard_attention(const Arguments& arguments) {
  if (!arguments[1].isTensor() || !arguments[2].isTensor()) return;
  const at::Tensor& key = arguments[1].toTensor();
  const at::Tensor& value = arguments[2].toTensor();
  if (key.dim() >= 2 && value.dim() >= 2 && key.size(-2) == value.size(-2)) return;
  refuse("scaled_dot_product_attention", text("keys and values of one length, keys ", key.sizes()),
         text("values ", value.sizes()));
}

// w = g v / ‖v‖: one length g for every slice of v.
void guard_weight_norm(const Arguments& arguments) {
  const at::Tensor& v = arguments[0].toTensor();
  const at::Tensor& g = arguments[1].toTensor();
  const int64_t dim = arguments[2].toInt();
  if (dim >= 0 && dim < v.dim() && g.numel() == v.size(dim)) return;
  refuse("_weight_norm", text("one length for each slice of ", v.sizes()), text(g.sizes(), " along ", dim));
}

// Positions are computed from the factor; one that is no ordinary number makes positions that are none either.
void guard_upsample(const Arguments& arguments) {
  const auto check = [](double factor) {
    if (factor >= 1e-3 && factor <= 1e3) return;
    refuse("upsample", "factors between 0.001 and 1000", text(factor));
  };
  for (const c10::IValue& argument : arguments) {
    if (argument.isDouble()) check(argument.toDouble());
    if (!argument.isDoubleList()) continue;
    for (const double factor : argument.toDoubleVector()) check(factor);
  }
}

// A number that is no way of sampling leaves the result as it was allocated.
void guard_grid_sampler(const Arguments& arguments) {
  for (const size_t i : {2, 3}) {
    const int64_t way = arguments[i].toInt();
    if (way >= 0 && way <= 2) continue;
    refuse("grid_sampler", "interpolation and padding by the numbers 0, 1 or 2", text(way));
  }
}

}  // namespace

Guard guard_of(std::string_view base_name) {
  if (base_name == "scaled_dot_product_attention") return guard_attention;
  if (base_name == "_weight_norm") return guard_weight_norm;
  if (base_name == "grid_sampler") return guard_grid_sampler;
  if (base_name.starts_with("upsample_")) return guard_upsample;
  return nullptr;
}

}  // namespace ta::exported
