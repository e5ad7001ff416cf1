#pragma once
// Which parts of the flat buffers move with which learning rate and weight decay. Neighbours that share both are one
// part, so that an optimizer works on long stretches however many tensors there are.

#include <string>
#include <unordered_set>
#include <vector>

#include "core/adapters/flat_parameters.h"

namespace ta {

struct ParameterGroup {
  double learning_rate = 0;  ///< highest of the schedule
  double weight_decay = 0;
  bool decays_all = false;  ///< also what otherwise never decays: biases and LayerNorms
  std::unordered_set<std::string> names{};
};

struct UpdateGroup {
  struct Part {
    size_t buffer;
    int64_t begin;
    int64_t end;
  };
  struct Element {
    size_t buffer;
    size_t parameter;
  };
  double learning_rate = 0;
  double weight_decay = 0;
  std::vector<Part> parts{};
  std::vector<Element> elements{};  ///< the parameters one by one
};

/// Everything of the buffers that trains, once: under the first of `groups` that names it, else under `rest`.
std::vector<UpdateGroup> update_groups(const std::vector<FlatParameters*>& parameters, const ParameterGroup& rest,
                                       const std::vector<ParameterGroup>& groups);

}  // namespace ta
