#include "core/surgery/folded_linear.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <c10/core/GradMode.h>

#include "core/error.h"

namespace ta {

namespace {

/// The tensors of one adapter in a file.
class AdapterInFile {
 public:
  AdapterInFile(const StateDict& file, const FoldedLinear& folded, const std::string& operation)
      : file_(file), folded_(folded), operation_(operation) {}

  at::Tensor of(const std::string& part) const { return tensor(folded_.module + part); }
  at::Tensor shared(const std::string& key) const { return tensor(key); }

  /// up [rows, r] · down [r, columns]
  at::Tensor product(const at::Tensor& up, const at::Tensor& down, const at::Tensor& weight) const {
    if (up.dim() != 2 || down.dim() != 2 || up.size(1) != down.size(0) || up.size(0) != weight.size(0) ||
        down.size(1) != weight.size(1)) {
      fail(ErrorCode::state_dict, operation_, "the factors at " + folded_.module + " do not fit it",
           {.expected = text("[r, ", weight.size(1), "] and [", weight.size(0), ", r]"),
            .got = text(down.sizes(), " and ", up.sizes())});
    }
    return at::matmul(up, down);
  }

  /// A vector in a file, whatever its shape there.
  at::Tensor vector(const std::string& part, int64_t size) const {
    auto value = of(part).reshape({-1});
    if (size >= 0 && value.numel() != size) {
      fail(ErrorCode::state_dict, operation_, folded_.module + part + " does not fit its Linear",
           {.expected = text(size, " numbers"), .got = text(value.numel())});
    }
    return value;
  }

  /// The first `rows` and `columns` of what all modules share.
  at::Tensor corner(const std::string& key, int64_t rows, int64_t columns) const {
    auto value = shared(key);
    if (value.dim() != 2 || value.size(0) < rows || value.size(1) < columns) {
      fail(ErrorCode::state_dict, operation_, key + " does not fit the Linear at " + folded_.module,
           {.expected = text("at least [", rows, ", ", columns, "]"), .got = text(value.sizes())});
    }
    return value.narrow(0, 0, rows).narrow(1, 0, columns);
  }

 private:
  at::Tensor tensor(const std::string& key) const {
    const auto* found = file_.find(key);
    if (found == nullptr) fail(ErrorCode::state_dict, operation_, "missing " + key, {.hint = "Save the folder again"});
    return found->to(at::kDouble);
  }

  const StateDict& file_;
  const FoldedLinear& folded_;
  const std::string& operation_;
};

at::Tensor folded_weight(const AdapterInFile& found, const FoldedLinear& folded, const at::Tensor& w) {
  const int64_t rows = w.size(0), columns = w.size(1);
  switch (folded.kind) {
    case FoldedKind::ia3:
      return w * found.vector(".ia3_l", rows).unsqueeze(1);
    case FoldedKind::ia3_input:
      return w * found.vector(".ia3_l", columns);
    case FoldedKind::vera: {
      const auto d = found.vector(".vera_lambda_d", -1);
      const auto down = found.corner("base_model.vera_A", d.numel(), columns) * d.unsqueeze(1);
      const auto up = found.corner("base_model.vera_B", rows, d.numel());
      return w + found.vector(".vera_lambda_b", rows).unsqueeze(1) * at::matmul(up, down);
    }
    default:
      break;
  }
  const auto changed = w + folded.scale * found.product(found.of(".lora_B.weight"), found.of(".lora_A.weight"), w);
  if (folded.kind == FoldedKind::lora) return changed;
  return changed * (found.vector(".lora_magnitude_vector", rows) / changed.norm(2, 1)).unsqueeze(1);
}

}  // namespace

FoldedKind parse_folded_kind(const std::string& name) {
  if (name == "dora") return FoldedKind::dora;
  if (name == "vera") return FoldedKind::vera;
  if (name == "ia3") return FoldedKind::ia3;
  if (name == "ia3_input") return FoldedKind::ia3_input;
  return FoldedKind::lora;
}

StateDict with_folded(const StateDict& file, const FoldedLinear& folded, AdapterModel& model,
                      const std::string& operation) {
  const c10::NoGradGuard guard;
  const AdapterInFile found(file, folded, operation);
  StateDict result;
  for (const auto& [key, tensor] : file)
    if (!key.starts_with(folded.module + ".")) result.add(key, tensor);
  model.root().visit_parameters("", [&](const std::string& path, const Parameter& parameter) {
    const bool is_weight = path == folded.source + ".weight";
    if (!is_weight && path != folded.source + ".bias") return;
    auto value = parameter.value->detach().to(at::TensorOptions(at::kDouble).device(at::kCPU));
    if (is_weight) value = folded_weight(found, folded, value);
    // The output is scaled with its bias.
    else if (folded.kind == FoldedKind::ia3)
      value = value * found.vector(".ia3_l", value.numel());
    result.add(folded.module + (is_weight ? ".weight" : ".bias"), value.to(at::kFloat));
  });
  return result;
}

}  // namespace ta
