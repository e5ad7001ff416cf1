#include "core/exported/module_shapes.h"

#include <algorithm>

#include "core/exported/expression_text.h"

namespace ta::exported {

namespace {

using Names = std::map<std::string, std::string>;

// "decoder_input_ids" → "decoder_sequence"
std::string sequence_of(const std::string& input) {
  const std::string_view side = "decoder_";
  return input.starts_with(side) ? "decoder_sequence" : "sequence";
}

Names names_of(const Graph& graph) {
  Names names;
  for (const auto& input : graph.inputs) {
    if (input.kind != Input::Kind::user || input.slot < 0) continue;
    const auto& info = graph.slots[input.slot];
    const bool of_tokens = info.shape.size() == 2 || info.shape.size() == 3;
    for (size_t i = 0; i < std::min<size_t>(info.shape.size(), of_tokens ? 2 : 1); ++i) {
      if (info.shape[i].symbol < 0) continue;
      const auto& symbol = graph.symbols[info.shape[i].symbol];
      if (symbol.is_name()) names.try_emplace(symbol.text, i == 0 ? "batch" : sequence_of(input.name));
    }
  }
  return names;
}

ModuleShapes::Shape shape_of(const Graph& graph, const Names& names, int32_t slot) {
  ModuleShapes::Shape shape;
  for (const auto& size : graph.slots[slot].shape)
    shape.push_back({size.number, size.symbol < 0 ? "" : expression_text(graph.symbols[size.symbol].text, names)});
  return shape;
}

}  // namespace

std::string shape_text(const Graph& graph, int32_t slot) {
  std::string result;
  for (const auto& [number, name] : shape_of(graph, names_of(graph), slot))
    result += (result.empty() ? "[" : ", ") + (name.empty() ? std::to_string(number) : name);
  return result.empty() ? "[]" : result + "]";
}

std::map<std::string, ModuleShapes> module_shapes(const Graph& graph, const std::vector<Size>& tokens) {
  auto names = names_of(graph);
  if (tokens.size() == 2 && tokens[1].symbol >= 0) names.try_emplace(graph.symbols[tokens[1].symbol].text, "tokens");
  const auto shapes_of = [&](const std::vector<int32_t>& slots) {
    std::vector<ModuleShapes::Shape> shapes;
    for (int32_t slot : slots)
      if (slot >= 0 && graph.slots[slot].is_tensor) shapes.push_back(shape_of(graph, names, slot));
    return shapes;
  };
  std::map<std::string, ModuleShapes> result;
  for (const auto& module : graph.modules) {
    auto& shapes = result[module.path];
    const auto& call = module.calls.front();
    shapes.calls = call.nodes.empty() && !call.has_signature ? 0 : static_cast<int64_t>(module.calls.size());
    if (call.has_signature) {
      shapes.inputs = shapes_of(call.inputs), shapes.outputs = shapes_of(call.outputs);
    } else if (!call.nodes.empty() && call.contiguous) {
      shapes.inputs = shapes_of(graph.entering(call.nodes)), shapes.outputs = shapes_of(graph.leaving(call.nodes));
    }
  }
  return result;
}

}  // namespace ta::exported
