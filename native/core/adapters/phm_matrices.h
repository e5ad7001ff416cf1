#pragma once
// The parameters of a PHM layer (phm.h): n matrices of one size, each whole or the product of two.
//   whole [n, rows, columns]    or    left [n, rows, rank], right [n, rank, columns]
// PyTorch keys: the name alone, or the name with _left and _right.

#include <functional>

#include "core/config/adapter_config.h"
#include "core/nn/module.h"
#include "core/nn/random.h"

namespace ta {

struct PhmMatrices {
  at::Tensor whole, left, right;

  /// `rank` 0: whole. `fixed`: they never train.
  void describe(const std::string& name, int64_t n, int64_t rows, int64_t columns, int64_t rank, bool fixed,
                const std::function<void(Parameter, at::Tensor&)>& add);
  bool exist() const { return whole.defined() || left.defined(); }
  /// [n, rows, columns], as autograd must take it.
  at::Tensor product() const;
  /// Every tensor that there is.
  void each(const std::function<void(at::Tensor&)>& visit);
};

/// W's start. The peer draws normal values whatever hypercomplex_nonlinearity says, and cannot start with init_weights
/// 'mam_adapter' or 'houlsby'; here both are read. mam_adapter and zeros: the up-projection adds nothing at first.
void initialise_weights(PhmMatrices& w, const BottleneckConfig& config, bool is_up, Random& random);
/// C's start, by phm_c_init: N(0, `std`) or uniform in ± `bound`.
void initialise_rule(PhmMatrices& c, const PhmConfig& config, double std, double bound, Random& random);

}  // namespace ta
