#include "core/training/update_groups.h"

#include <algorithm>

namespace ta {

namespace {

UpdateGroup& group_with(std::vector<UpdateGroup>& groups, double learning_rate, double weight_decay) {
  const auto found = std::find_if(groups.begin(), groups.end(), [&](const auto& group) {
    return group.learning_rate == learning_rate && group.weight_decay == weight_decay;
  });
  if (found != groups.end()) return *found;
  return groups.emplace_back(UpdateGroup{.learning_rate = learning_rate, .weight_decay = weight_decay});
}

void add(UpdateGroup& group, size_t buffer, size_t parameter, const FlatParameters::Span& span) {
  group.elements.push_back({buffer, parameter});
  if (!group.parts.empty() && group.parts.back().buffer == buffer && group.parts.back().end == span.begin) {
    group.parts.back().end = span.end;
  } else {
    group.parts.push_back({buffer, span.begin, span.end});
  }
}

}  // namespace

std::vector<UpdateGroup> update_groups(const std::vector<FlatParameters*>& parameters, const ParameterGroup& rest,
                                       const std::vector<ParameterGroup>& groups) {
  std::vector<UpdateGroup> result;
  for (size_t buffer = 0; buffer < parameters.size(); ++buffer) {
    const auto& flat = *parameters[buffer];
    for (size_t i = 0; i < flat.parameters().size(); ++i) {
      if (!flat.trains(i)) continue;
      const auto& [name, parameter] = flat.parameters()[i];
      const auto named = std::find_if(groups.begin(), groups.end(),
                                      [&name = name](const auto& group) { return group.names.contains(name); });
      const auto& own = named == groups.end() ? rest : *named;
      const double decay = parameter.decay || own.decays_all ? own.weight_decay : 0;
      add(group_with(result, own.learning_rate, decay), buffer, i, flat.span(i));
    }
  }
  return result;
}

}  // namespace ta
