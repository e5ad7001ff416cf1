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

void guard_weight(int64_t layer, const char* what, at::IntArrayRef expected, const at::Tensor& got) {
  if (got.sizes() == expected) return;
  refuse("a recurrent layer", text(what, " of layer ", layer, " as ", expected), text(got.sizes()));
}

// (input, states, weights, has_biases, num_layers, dropout, train, bidirectional, batch_first); `gates`: rows of a
// weight, in hidden sizes. An LSTM has two states, and a projection where their widths differ.
void guard_recurrent(const Arguments& arguments, int64_t gates) {
  const auto& input = arguments[0].toTensor();
  const auto states =
      arguments[1].isTensor() ? std::vector<at::Tensor>{arguments[1].toTensor()} : arguments[1].toTensorVector();
  const auto weights = arguments[2].toTensorVector();
  const bool biases = arguments[3].toBool(), batch_first = arguments[8].toBool();
  const int64_t layers = arguments[4].toInt(), ways = arguments[7].toBool() ? 2 : 1;
  if (input.dim() != 3 || states.size() != (gates == 4 ? 2u : 1u))
    refuse("a recurrent layer", "rows of tokens, and a state", text("an input of ", input.dim(), " sizes"));
  const int64_t rows = input.size(batch_first ? 0 : 1);
  for (const auto& state : states) {
    if (state.dim() != 3 || state.size(0) != layers * ways || state.size(1) != rows || state.size(2) < 1)
      refuse("a recurrent layer", text("a state of [", layers * ways, ", ", rows, ", …]"), text(state.sizes()));
  }
  const int64_t hidden = states.back().size(2), out = states[0].size(2);
  const bool projects = hidden != out;
  const size_t each = (biases ? 4 : 2) + (projects ? 1 : 0);
  if (layers < 1 || weights.size() != each * static_cast<size_t>(layers * ways))
    refuse("a recurrent layer", text(each, " tensors for each of ", layers * ways), text(weights.size()));
  for (int64_t i = 0; i < layers * ways; ++i) {
    const auto* own = &weights[each * static_cast<size_t>(i)];
    guard_weight(i / ways, "weight_ih", {gates * hidden, i < ways ? input.size(2) : out * ways}, own[0]);
    guard_weight(i / ways, "weight_hh", {gates * hidden, out}, own[1]);
    for (size_t bias = 2; biases && bias < 4; ++bias) guard_weight(i / ways, "bias", {gates * hidden}, own[bias]);
    if (projects) guard_weight(i / ways, "weight_hr", {out, hidden}, own[each - 1]);
  }
}

void guard_lstm(const Arguments& arguments) {
  guard_recurrent(arguments, 4);
}
void guard_gru(const Arguments& arguments) {
  guard_recurrent(arguments, 3);
}
void guard_rnn(const Arguments& arguments) {
  guard_recurrent(arguments, 1);
}

}  // namespace

Guard guard_of(std::string_view base_name) {
  if (base_name == "scaled_dot_product_attention") return guard_attention;
  if (base_name == "_weight_norm") return guard_weight_norm;
  if (base_name == "lstm") return guard_lstm;
  if (base_name == "gru") return guard_gru;
  if (base_name == "rnn_tanh" || base_name == "rnn_relu") return guard_rnn;
  if (base_name == "grid_sampler") return guard_grid_sampler;
  if (base_name.starts_with("upsample_")) return guard_upsample;
  return nullptr;
}

}  // namespace ta::exported
