#include "core/exported/graph.h"

#include <algorithm>
#include <cctype>

#include "core/error.h"
#include "core/exported/graph_reader.h"
#include "core/exported/operators.h"
#include "core/state/json.h"

namespace ta::exported {

bool Symbol::is_name() const {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; });
}

std::optional<double> Argument::number() const {
  if (kind != Kind::constant) return std::nullopt;
  if (value.isComplexDouble()) return std::nullopt;
  if (value.isScalar()) return value.toScalar().toDouble();
  if (!value.isTensor() || value.toTensor().numel() != 1 || value.toTensor().is_complex()) return std::nullopt;
  return value.toTensor().item<double>();
}

const std::string& Node::operator_name() const {
  return op->name;
}

bool Node::is_one_of(std::initializer_list<std::string_view> names) const {
  return std::find(names.begin(), names.end(), operator_name()) != names.end();
}

int32_t Node::slot(std::size_t i) const {
  return i < arguments.size() && arguments[i].kind == Argument::Kind::slot ? arguments[i].slot : -1;
}

Graph Graph::parse(std::string_view json, const std::string& source, const SameModules& same) {
  const Json model = parse_json(json, source);
  return GraphReader(model, source, same).read();
}

int32_t Graph::find_module(const std::string& path) const {
  const auto found = module_index_.find(path);
  return found == module_index_.end() ? -1 : found->second;
}

std::vector<int32_t> Graph::enclosing(int32_t module) const {
  std::vector<int32_t> result;
  for (; module >= 0; module = modules[static_cast<std::size_t>(module)].parent) result.push_back(module);
  return result;
}

bool Graph::inside(int32_t module, int32_t outer) const {
  for (; module >= 0; module = modules[static_cast<std::size_t>(module)].parent) {
    if (module == outer) return true;
  }
  return false;
}

std::vector<int32_t> Graph::leaving(Range range) const {
  std::vector<int32_t> result;
  for (int32_t i = range.first; i <= range.last; ++i) {
    for (const int32_t output : nodes[static_cast<std::size_t>(i)].outputs) {
      if (output < 0) continue;
      const SlotInfo& slot = slots[static_cast<std::size_t>(output)];
      const bool read = slot.is_output || (!slot.users.empty() && slot.users.back() > range.last);
      if (slot.is_tensor && read) result.push_back(output);
    }
  }
  return result;
}

std::vector<int32_t> Graph::entering(Range range) const {
  std::vector<int32_t> result;
  for (int32_t i = range.first; i <= range.last; ++i) {
    for (const Argument& argument : nodes[static_cast<std::size_t>(i)].arguments) {
      each_slot(argument, [&](int32_t slot) {
        const SlotInfo& info = slots[static_cast<std::size_t>(slot)];
        const bool outside = !is_weight_[static_cast<std::size_t>(slot)] && !range.contains(info.producer);
        if (info.is_tensor && outside && std::find(result.begin(), result.end(), slot) == result.end()) {
          result.push_back(slot);
        }
      });
    }
  }
  return result;
}

std::string Graph::describe(int32_t node) const {
  const Node& one = nodes[static_cast<std::size_t>(node)];
  std::string result = text(one.operator_name(), " (node ", node);
  if (one.module > 0) result += ", " + modules[static_cast<std::size_t>(one.module)].path;
  return result + ")";
}

}  // namespace ta::exported
