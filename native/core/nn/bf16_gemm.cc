#include "core/nn/bf16_gemm.h"

#include <ATen/Context.h>
#include <ATen/cpu/Utils.h>
#include <ATen/ops/add.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>

#include "core/nn/gemm.h"

namespace ta {

namespace {

// Numbers of a panel: 1 MiB as float32. From half to four times that it made no difference that stood out.
constexpr int64_t kPanel = 1 << 18;

bool processor_multiplies_bf16() {
  if (!at::globalContext().hasMKLDNN()) return false;
  const auto capabilities = at::cpu::get_cpu_capabilities();
  const auto has = [&](const char* name) {
    const auto found = capabilities.find(name);
    return found != capabilities.end() && found->second.isBool() && found->second.toBool();
  };
  return has("avx512_bf16") || has("amx_bf16");
}

}  // namespace

bool multiplies_bf16(at::Device device) {
  static const bool processor = processor_multiplies_bf16();
  return device.is_cpu() ? processor : true;
}

at::Tensor rounded_product(const at::Tensor& x, const at::Tensor& m, const at::Tensor& bias) {
  const auto y = at::mm(x.to(at::kBFloat16), m);
  return bias.defined() ? at::add(y, bias) : y.to(at::kFloat);  // the sum of both types is float32
}

at::Tensor widened_product(const at::Tensor& x, const at::Tensor& m, const at::Tensor& bias) {
  const int64_t in = m.size(0), out = m.size(1);
  const int64_t width = std::min(out, std::max<int64_t>(64, kPanel / std::max<int64_t>(in, 1) / 64 * 64));
  const bool by_columns = m.stride(0) == 1;  // as Wᵀ of a Linear lies in memory
  auto y = at::empty({x.size(0), out}, x.options());
  const auto buffer = at::empty({width * in}, x.options());
  for (int64_t begin = 0; begin < out; begin += width) {
    const int64_t count = std::min(width, out - begin);
    const auto flat = buffer.narrow(0, 0, count * in);
    const auto panel = by_columns ? flat.view({count, in}).t() : flat.view({in, count});
    panel.copy_(m.narrow(1, begin, count));
    auto part = y.narrow(1, begin, count);
    if (bias.defined()) {
      at::addmm_out(part, bias.narrow(0, begin, count), x, panel);
    } else {
      at::mm_out(part, x, panel);
    }
  }
  return y;
}

at::Tensor bf16_product(const at::Tensor& x, const at::Tensor& m, const at::Tensor& bias) {
  if (multiplies_bf16(x.device())) return rounded_product(x, m, bias);
  auto y = own_product(x, m.t(), bias);
  return y.defined() ? y : widened_product(x, m, bias);
}

}  // namespace ta
