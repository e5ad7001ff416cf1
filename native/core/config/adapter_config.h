#pragma once
// AdapterHub's BnConfig (adapters.BnConfig), the fields that the core needs. Sizes come ready for each layer.

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace ta {

enum class AdapterInit { bert, mam_adapter, houlsby, zeros };
enum class Scaling { fixed, learned, channel };
/// Which value the adapter's own residual is: the sub-layer's output, the adapter's input, or the sum before the
/// LayerNorm.
enum class ResidualBeforeLn { yes, no, post_add };

struct BottleneckConfig {
  bool mh_adapter = false;                ///< after attention
  bool output_adapter = true;             ///< after feed-forward
  std::vector<int64_t> bottleneck_sizes;  ///< [layers]; 0: no adapter in that layer
  std::string non_linearity = "relu";
  bool original_ln_before = false;
  bool original_ln_after = true;
  bool ln_before = false;
  bool ln_after = false;
  AdapterInit init_weights = AdapterInit::bert;
  std::optional<uint64_t> init_weights_seed;
  bool is_parallel = false;
  Scaling scaling = Scaling::fixed;
  double scaling_value = 1.0;  ///< Scaling::fixed
  bool use_gating = false;
  ResidualBeforeLn residual_before_ln = ResidualBeforeLn::yes;
  bool adapter_residual_before_ln = false;
  double dropout = 0.0;
  double stochastic_depth = 0.0;
};

/// An AdapterLayer on the last hidden state, as the adapters of a multi-task model are.
struct OutputAdapterConfig {
  int64_t size = 64;
  std::string activation = "relu";
  std::optional<uint64_t> init_weights_seed;
};

/// One of the methods; an adapter has one, or several at different places (a union).
using AdapterConfig = std::variant<BottleneckConfig, OutputAdapterConfig>;

}  // namespace ta
