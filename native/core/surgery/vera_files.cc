#include "core/surgery/vera_files.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/equal.h>

#include "core/error.h"

namespace ta {

namespace {

bool is_vera(const std::string& key) {
  // <path>.loras.<name>.vera_D
  const auto place = key.rfind(".loras."), part = key.rfind('.');
  return place != key.npos && key.find('.', place + 7) == part && key.compare(part, 6, ".vera_") == 0;
}

at::Tensor diagonal_of(const std::string& operation, const std::string& key, const at::Tensor& matrix) {
  auto diagonal = matrix.diagonal();
  if (at::equal(at::diag_embed(diagonal), matrix)) return diagonal.contiguous();
  fail(ErrorCode::unsupported, operation, key + " is a whole matrix that has been trained",
       {.expected = "a vector, as VeRA has it, or a diagonal matrix",
        .got = text("a matrix ", matrix.sizes(), " with values off its diagonal"),
        .hint = "Python's adapters trains matrices where VeRA has vectors; train it anew here, or use LoRA"});
}

}  // namespace

StateDict vera_in_dialect(const std::string& operation, const StateDict& tensors, KeyDialect dialect) {
  StateDict result;
  for (const auto& [key, tensor] : tensors) {
    const bool whole = tensor.dim() == 2 && tensor.size(0) == tensor.size(1);
    if (!is_vera(key) || (!whole && tensor.dim() != 1) || whole == (dialect == KeyDialect::adapterhub)) {
      result.add(key, tensor);
    } else {
      result.add(key, whole ? diagonal_of(operation, key, tensor) : at::diag_embed(tensor));
    }
  }
  return result;
}

}  // namespace ta
