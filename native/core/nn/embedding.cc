#include "core/nn/embedding.h"

#include <ATen/ops/embedding.h>

#include "core/nn/gradient.h"

namespace ta {

Embedding::Embedding(int64_t rows, int64_t size, int64_t padding, Init init) : padding_(padding) {
  parameter(
      {.name = "weight", .shape = {rows, size}, .init = init, .decay = true, .constant = static_cast<double>(padding)},
      weight);
}

at::Tensor Embedding::forward(const at::Tensor& ids) {
  return at::embedding(tracked(weight), ids, padding_).to(at::kFloat);  // a bfloat16 trunk's; float32 stays as it is
}

}  // namespace ta
