#pragma once
// AdapterHub's AdapterFusionConfig.

namespace ta {

struct FusionConfig {
  bool key = true;
  bool query = true;
  bool value = true;
  bool query_before_ln = false;   ///< the query is the sub-layer's output, not the adapters' input
  bool regularization = true;     ///< 0.01 ‖I - Wv‖² is part of what training lowers
  bool residual_before = false;   ///< the residual is added to what is fused, not to the result
  bool temperature = false;       ///< scores are divided by T, from 50 down to 1
  bool value_initialized = true;  ///< Wv starts as the identity
  double dropout_prob = 0;        ///< on the scores
};

}  // namespace ta
