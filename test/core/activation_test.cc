// xIELU's two parameters count as transformers has them, in bfloat16, whatever their digits in fp32: values and
// gradients of transformers' XIELUActivation with alpha_p 0.3333333 and alpha_n -0.7777777.
#include <ATen/TensorOperators.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/tensor.h>

#include "check.h"
#include "core/models/initialise.h"
#include "core/nn/activation.h"

namespace {

using namespace ta;

void check_near(const at::Tensor& values, const std::vector<double>& expected) {
  CHECK_EQ(values.numel(), static_cast<int64_t>(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i)
    CHECK_NEAR(values[static_cast<int64_t>(i)].item<double>(), expected[i], 2e-7 * (1 + std::abs(expected[i])));
}

}  // namespace

TEST(xielu_counts_in_bfloat16) {
  Activation activation("xielu");
  Random random(1);
  initialise_missing(activation, "", 0.02, random, at::kCPU);
  std::vector<at::Tensor> parameters;
  activation.visit_parameters("", [&](const std::string& name, const Parameter& parameter) {
    if (parameter.buffer) return;  // beta and eps
    parameter.value->fill_(name.ends_with("alpha_p") ? 0.3333333 : -0.7777777);
    parameter.value->requires_grad_(true);
    parameters.push_back(*parameter.value);
  });
  const auto x = at::tensor({-3.0F, -0.5F, 0.25F, 2.0F}).requires_grad_(true);
  const auto y = activation.forward(x);
  check_near(y.detach(), {0.301570654, -0.156369537, 0.1796875, 4.5});
  (y * at::tensor({1.0F, -2.0F, 3.0F, 0.5F})).sum().backward();
  check_near(x.grad(), {-0.335148096, -0.308354735, 2.8125, 2.0});
  CHECK_EQ(parameters.size(), 2U);
  check_near(parameters.at(0).grad(), {1.2734375});
  check_near(parameters.at(1).grad(), {0.578125});
  CHECK_EQ(parameters.at(0).grad().scalar_type(), at::kFloat);
}
