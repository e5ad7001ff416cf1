#pragma once
// A batch and what one pass over it is asked for, from JavaScript to the core's structs.

#include "binding/convert.h"
#include "core/training/forward.h"

namespace ta::binding {

/// A composition whose adapters still have their names.
struct NamedSetup {
  Composition::Kind kind = Composition::Kind::none;
  std::string name;  ///< of the adapter, or of the fusion
  std::vector<NamedSetup> children = {};
  std::vector<double> weights = {};
  std::vector<int64_t> sizes = {};
};

/// By name; indices are looked up on the engine thread.
struct PassOptions {
  int64_t copies = 1;              ///< of the batch's rows; what follows counts the rows of all
  std::vector<NamedSetup> setups;  ///< of this batch
  /// For each row which of the setups, -1: none. Absent: all rows have the first, where there is one.
  std::optional<std::vector<int32_t>> row_setups;
  std::string head;
  /// Instead of `head`: the heads of this batch, and for each row which of them.
  std::vector<std::string> heads;
  std::optional<std::vector<int32_t>> row_heads;
  /// For each of `heads` the labels of its rows; one of the two is set, or none. Empty: no labels.
  struct Labels {
    std::optional<std::vector<int32_t>> ints;
    std::optional<std::vector<float>> floats;
  };
  std::vector<Labels> head_labels;
  std::vector<int64_t> skip_layers;  ///< where no setup runs
  bool hidden_states = false;
  bool last_hidden_state = false;
  bool fusion_attentions = false;
  /// How the loss of each head is reckoned, by its name; of others all classes count alike.
  struct Loss {
    std::optional<std::vector<float>> class_weights;
    double label_smoothing = 0;
  };
  std::map<std::string, Loss> losses;
  Answers answers = Answers::all;
  bool frozen_states = false;  ///< what frozen layers give may come from the model's store
};

BatchInput to_batch(const Napi::Object& object);
PassOptions to_pass_options(const Napi::Object& object);
/// Throws ERR_INVALID_ARGUMENT where a name is unknown.
ForwardRequest to_request(const PassOptions& options, const AdapterModel& model, int64_t batch_rows);

}  // namespace ta::binding
