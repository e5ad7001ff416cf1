// Small tensors for tests, and their values as doubles.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <string>
#include <vector>

#include "check.h"
#include "core/state/dtype.h"
#include "core/state/json.h"
#include "core/state/state_dict.h"

namespace check {

inline at::Tensor tensor(const std::vector<double>& values, at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
  at::Tensor made = at::empty(shape, at::TensorOptions(at::kDouble));
  std::copy(values.begin(), values.end(), made.mutable_data_ptr<double>());
  return made.to(dtype);
}

// 0, 1, 2, … in a shape
inline at::Tensor counting(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
  at::Tensor made = at::empty(shape, at::TensorOptions(at::kDouble));
  for (int64_t i = 0; i < made.numel(); ++i) made.mutable_data_ptr<double>()[i] = static_cast<double>(i);
  return made.to(dtype);
}

inline std::vector<double> values(const at::Tensor& t) {
  const at::Tensor dense = t.to(at::kDouble).contiguous();
  const double* data = dense.const_data_ptr<double>();
  return {data, data + dense.numel()};
}

// Compares with what fixtures/make.py wrote down: {name: {dtype, shape, values}}, in the same order or not.
inline void expect_tensors(const ta::StateDict& tensors, const ta::Json& expected, const std::string& file) {
  CHECK_EQ(tensors.size(), expected.as_object(file).size());
  for (const auto& [name, about] : expected.as_object(file)) {
    const at::Tensor* found = tensors.find(name);
    if (!found) {
      report(file.c_str(), 0, "no tensor named " + name);
      continue;
    }
    CHECK_EQ(ta::dtype_name(found->scalar_type()), about.find("dtype")->as_string(name));
    std::vector<int64_t> shape;
    for (const ta::Json& size : about.find("shape")->as_array(name)) shape.push_back(size.as_integer(name));
    CHECK_EQ(found->sizes().vec(), shape);
    std::vector<double> numbers;
    for (const ta::Json& number : about.find("values")->as_array(name)) numbers.push_back(number.as_number(name));
    CHECK_EQ(values(*found), numbers);
  }
}

inline const ta::Json& expected_json() {
  static const ta::Json json = ta::parse_json(read_file(fixture("expected.json")), "expected.json");
  return json;
}

}  // namespace check
