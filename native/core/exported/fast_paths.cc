// Operators called by their C++ names: for those that models consist of, it spares the trip of every argument through
// the dispatcher's stack. Which call a node is made with is settled here once, by the kinds of its arguments; a node
// that does not look as usual goes the long way.

#include <ATen/Functions.h>

#include <utility>

#include "core/exported/plan.h"
#include "core/nn/linear.h"

namespace ta::exported {
namespace {

using c10::IValue;
using Values = IValue*;

const IValue& argument(const Step& step, const IValue* values, std::size_t i) {
  const Load& load = step.loads[i];
  return load.slot >= 0 ? values[load.slot] : load.value;
}
const at::Tensor& tensor(const Step& step, const IValue* values, std::size_t i) {
  return argument(step, values, i).toTensor();
}
std::optional<at::Tensor> maybe_tensor(const Step& step, const IValue* values, std::size_t i) {
  const IValue& value = argument(step, values, i);
  return value.isTensor() ? std::optional<at::Tensor>(value.toTensor()) : std::nullopt;
}
int64_t integer(const Step& step, const IValue* values, std::size_t i) {
  return argument(step, values, i).toInt();
}
std::optional<int64_t> maybe_integer(const Step& step, const IValue* values, std::size_t i) {
  const IValue& value = argument(step, values, i);
  return value.isNone() ? std::nullopt : std::optional<int64_t>(value.toInt());
}
void give(const Step& step, Values values, at::Tensor result) {
  values[step.outputs[0]] = std::move(result);
}

// The sizes of a view: written down, or computed by the graph.
c10::SmallVector<int64_t, 8> sizes(const Step& step, const IValue* values, std::size_t i) {
  const Load& load = step.loads[i];
  if (load.kind == Load::Kind::constant) return {step.integers.begin(), step.integers.end()};
  c10::SmallVector<int64_t, 8> result;
  for (const Argument::Item& item : load.items)
    result.push_back(item.slot < 0 ? item.number : values[item.slot].toInt());
  return result;
}

bool is_frozen_float(const at::Tensor& weight) {
  return weight.scalar_type() == at::kFloat && !weight.requires_grad();
}
// Frozen weights take the library's own products (gemm.h), in one node of the autograd graph.
void linear(const Step& s, Values v, bool) {
  const at::Tensor &x = tensor(s, v, 0), &weight = tensor(s, v, 1);
  const IValue& bias = argument(s, v, 2);
  const bool is_frozen = is_frozen_float(weight) && (!bias.isTensor() || is_frozen_float(bias.toTensor()));
  if (!is_frozen || weight.dim() != 2 || x.dim() < 2 || x.size(-1) != weight.size(1) || x.scalar_type() != at::kFloat ||
      !x.is_contiguous() || x.numel() == 0) {
    give(s, v, at::linear(x, weight, maybe_tensor(s, v, 2)));
    return;
  }
  const at::Tensor none;
  const at::Tensor& b = bias.isTensor() ? bias.toTensor() : none;
  if (x.dim() == 2) {
    give(s, v, ta::linear(x, weight, b));
    return;
  }
  auto sizes = x.sizes().vec();
  sizes.back() = weight.size(0);
  give(s, v, ta::linear(x.view({-1, x.size(-1)}), weight, b).view(sizes));
}
void matmul(const Step& s, Values v, bool) {
  give(s, v, at::matmul(tensor(s, v, 0), tensor(s, v, 1)));
}
void addmm(const Step& s, Values v, bool) {
  give(s, v, at::addmm(tensor(s, v, 0), tensor(s, v, 1), tensor(s, v, 2)));
}
void layer_norm(const Step& s, Values v, bool) {
  give(s, v,
       at::layer_norm(tensor(s, v, 0), s.integers, maybe_tensor(s, v, 2), maybe_tensor(s, v, 3),
                      s.loads[4].value.toDouble(), false));
}
void embedding(const Step& s, Values v, bool) {
  give(s, v, at::embedding(tensor(s, v, 0), tensor(s, v, 1), integer(s, v, 2), false, false));
}

void add(const Step& s, Values v, bool) {
  give(s, v, at::add(tensor(s, v, 0), tensor(s, v, 1)));
}
void sub(const Step& s, Values v, bool) {
  give(s, v, at::sub(tensor(s, v, 0), tensor(s, v, 1)));
}
void mul(const Step& s, Values v, bool) {
  give(s, v, at::mul(tensor(s, v, 0), tensor(s, v, 1)));
}
void neg(const Step& s, Values v, bool) {
  give(s, v, at::neg(tensor(s, v, 0)));
}
void rsqrt(const Step& s, Values v, bool) {
  give(s, v, at::rsqrt(tensor(s, v, 0)));
}
void pow(const Step& s, Values v, bool) {
  give(s, v, at::pow(tensor(s, v, 0), s.loads[1].value.toScalar()));
}
void mean(const Step& s, Values v, bool) {
  give(s, v, at::mean(tensor(s, v, 0), s.integers, s.loads[2].value.toBool()));
}
void softmax(const Step& s, Values v, bool) {
  give(s, v, at::softmax(tensor(s, v, 0), integer(s, v, 1)));
}

void relu(const Step& s, Values v, bool) {
  give(s, v, at::relu(tensor(s, v, 0)));
}
void silu(const Step& s, Values v, bool) {
  give(s, v, at::silu(tensor(s, v, 0)));
}
void tanh(const Step& s, Values v, bool) {
  give(s, v, at::tanh(tensor(s, v, 0)));
}
void gelu(const Step& s, Values v, bool) {
  give(s, v, at::gelu(tensor(s, v, 0), s.loads[1].value.toStringView()));
}

void reshape(const Step& s, Values v, bool) {
  give(s, v, tensor(s, v, 0).reshape(sizes(s, v, 1)));
}
void expand(const Step& s, Values v, bool) {
  give(s, v, tensor(s, v, 0).expand(sizes(s, v, 1)));
}
void permute(const Step& s, Values v, bool) {
  give(s, v, tensor(s, v, 0).permute(s.integers));
}
void transpose(const Step& s, Values v, bool) {
  give(s, v, tensor(s, v, 0).transpose(integer(s, v, 1), integer(s, v, 2)));
}
void unsqueeze(const Step& s, Values v, bool) {
  give(s, v, tensor(s, v, 0).unsqueeze(integer(s, v, 1)));
}
void select(const Step& s, Values v, bool) {
  give(s, v, tensor(s, v, 0).select(integer(s, v, 1), integer(s, v, 2)));
}
void slice(const Step& s, Values v, bool) {
  give(s, v, tensor(s, v, 0).slice(integer(s, v, 1), maybe_integer(s, v, 2), maybe_integer(s, v, 3), integer(s, v, 4)));
}
void contiguous(const Step& s, Values v, bool) {
  give(s, v, tensor(s, v, 0).contiguous());
}
// What PyTorch does, too: a tensor that has the type already is itself.
void to_dtype(const Step& s, Values v, bool) {
  const at::Tensor& x = tensor(s, v, 0);
  const at::ScalarType dtype = static_cast<at::ScalarType>(s.loads[1].value.toInt());
  give(s, v, x.scalar_type() == dtype ? x : x.to(dtype));
}
void concatenate(const Step& s, Values v, bool) {
  c10::SmallVector<at::Tensor, 4> parts;
  for (const Argument::Item& item : s.loads[0].items) parts.push_back(v[item.slot].toTensor());
  give(s, v, at::cat(at::TensorList(parts), integer(s, v, 1)));
}

void attention(const Step& s, Values v, bool training) {
  const at::Tensor& key = tensor(s, v, 1);
  const at::Tensor& value = tensor(s, v, 2);
  if (key.dim() < 2 || value.dim() < 2 || key.size(-2) != value.size(-2)) {
    s.op->guard({argument(s, v, 0), key, value});
  }
  const Load& dropout = s.loads[4];
  const bool active = training || dropout.kind == Load::Kind::constant;
  const IValue& scale = s.loads[6].value;
  give(s, v,
       at::scaled_dot_product_attention(
           tensor(s, v, 0), key, value, maybe_tensor(s, v, 3), (active ? dropout.value : dropout.evaluating).toDouble(),
           s.loads[5].value.toBool(), scale.isNone() ? std::nullopt : std::optional<double>(scale.toDouble()),
           s.loads[7].value.toBool()));
}

struct Entry {
  std::string_view name;
  std::string_view pattern;  ///< a letter for each argument, see matches()
  FastPath path;
};

constexpr Entry entries[] = {
    {"aten.linear.default", "tt?", linear},
    {"aten.matmul.default", "tt", matmul},
    {"aten.addmm.default", "ttt11", addmm},
    {"aten.layer_norm.default", "tN??f*", layer_norm},
    {"aten.embedding.default", "ttiFF", embedding},
    {"aten.add.Tensor", "TT1", add},
    {"aten.sub.Tensor", "TT1", sub},
    {"aten.mul.Tensor", "TT", mul},
    {"aten.neg.default", "t", neg},
    {"aten.rsqrt.default", "t", rsqrt},
    {"aten.pow.Tensor_Scalar", "ts", pow},
    {"aten.mean.dim", "tNb_", mean},
    {"aten.softmax.int", "ti_", softmax},
    {"aten.relu.default", "t", relu},
    {"aten.silu.default", "t", silu},
    {"aten.tanh.default", "t", tanh},
    {"aten.gelu.default", "t*", gelu},
    // What an adapter gives may lie in another order than what it stands for.
    {"aten.view.default", "tn", reshape},
    {"aten.reshape.default", "tn", reshape},
    {"aten.expand.default", "tnF", expand},
    {"aten.permute.default", "tN", permute},
    {"aten.transpose.int", "tii", transpose},
    {"aten.unsqueeze.default", "ti", unsqueeze},
    {"aten.select.int", "tii", select},
    {"aten.slice.Tensor", "tiIIi", slice},
    {"aten.contiguous.default", "t*", contiguous},
    {"aten.to.dtype", "t*FF_", to_dtype},
    {"aten.cat.default", "xi", concatenate},
    {"aten.scaled_dot_product_attention.default", "ttt?fb?b", attention},
};

bool is_one(const IValue& value) {
  return (value.isInt() && value.toInt() == 1) || (value.isDouble() && value.toDouble() == 1.0);
}

bool fits(const Argument& argument, char kind) {
  const bool is_slot = argument.kind == Argument::Kind::slot && !argument.wrapped;
  const bool is_constant = argument.kind == Argument::Kind::constant;
  const IValue& value = argument.value;
  switch (kind) {
    case 't':  // a tensor
      return is_slot;
    case 'T':  // a tensor or a number that stands for one
      return is_slot || (is_constant && value.isTensor());
    case '?':  // a tensor, a real number, or none
      return is_slot || (is_constant && (value.isNone() || value.isDouble()));
    case 'i':  // an integer
      return is_slot || (is_constant && value.isInt());
    case 'I':  // an integer or none
      return is_slot || (is_constant && (value.isInt() || value.isNone()));
    case 'n':  // integers
      return (is_constant && value.isIntList()) || argument.kind == Argument::Kind::list;
    case 'N':  // integers that are written down
      return is_constant && value.isIntList();
    case 'x':  // tensors
      return argument.kind == Argument::Kind::list && argument.list == Argument::List::tensors;
    case 'f':
      return is_constant && value.isDouble();
    case 'b':
      return is_constant && value.isBool();
    case 's':  // a number
      return is_constant && (value.isInt() || value.isDouble());
    case 'F':
      return is_constant && value.isBool() && !value.toBool();
    case '1':
      return is_constant && is_one(value);
    case '_':
      return is_constant && value.isNone();
    default:  // any constant
      return is_constant && !value.isNone();
  }
}

bool matches(const Node& node, std::string_view pattern) {
  if (node.arguments.size() != pattern.size() || node.outputs.size() != 1 || node.outputs[0] < 0) return false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (!fits(node.arguments[i], pattern[i])) return false;
  }
  return true;
}

}  // namespace

void choose_fast_path(const Node& node, Step& step) {
  for (const Entry& entry : entries) {
    if (entry.name != node.operator_name() || !matches(node, entry.pattern)) continue;
    step.fast_path = entry.path;
    for (const Argument& argument : node.arguments) {
      if (argument.kind == Argument::Kind::constant && argument.value.isIntList()) {
        step.integers = argument.value.toIntVector();
      }
    }
  }
}

}  // namespace ta::exported
