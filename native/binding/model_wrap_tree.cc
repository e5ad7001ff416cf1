// The model handle's calls that name parts of the tree and replace them.
#include <unordered_map>

#include "binding/model_wrap.h"
#include "core/exported/exported_model.h"
#include "core/exported/listed_modules.h"
#include "core/models/network.h"
#include "core/surgery/inserted_io.h"
#include "core/surgery/module_path.h"

namespace ta::binding {

namespace {

const char* part_name(Part part) {
  switch (part) {
    case Part::base:
      return "base";
    case Part::adapter:
      return "adapter";
    case Part::fusion:
      return "fusion";
    case Part::head:
      return "head";
    case Part::inserted:
      return "inserted";
  }
  return "base";
}

struct ParameterList {
  std::vector<std::pair<NamedParameter, Part>> parameters;
};
Napi::Value to_js(Napi::Env env, const ParameterList& list) {
  auto array = Napi::Array::New(env, list.parameters.size());
  for (uint32_t i = 0; i < list.parameters.size(); ++i) {
    const auto& [named, part] = list.parameters[i];
    const auto& [name, parameter] = named;
    auto object = Napi::Object::New(env);
    object.Set("name", name);
    object.Set("shape", shape_to_js(env, parameter.shape));
    object.Set("dtype", dtype_name(parameter.value->defined() ? parameter.value->scalar_type() : at::kFloat));
    object.Set("trainable", parameter.value->defined() && parameter.value->requires_grad());
    object.Set("part", part_name(part));
    array.Set(i, object);
  }
  return array;
}

struct ModuleList {
  struct Item {
    std::string path, type;
    std::optional<std::string> place;  ///< where surgery may replace it: the first of the paths that lead there
    bool beside;                       ///< the library's own place in a network that somebody else wrote
    ModuleShapes shapes;
  };
  std::vector<Item> modules;
};

Napi::Array shapes_to_js(Napi::Env env, const std::vector<ModuleShapes::Shape>& shapes) {
  auto all = Napi::Array::New(env, shapes.size());
  for (uint32_t i = 0; i < shapes.size(); ++i) {
    auto one = Napi::Array::New(env, shapes[i].size());
    for (uint32_t j = 0; j < shapes[i].size(); ++j) {
      const auto& [number, name] = shapes[i][j];
      if (name.empty()) {
        one.Set(j, static_cast<double>(number));
      } else {
        one.Set(j, name);
      }
    }
    all.Set(i, one);
  }
  return all;
}

// Rows lie one after the other in our own layers.
std::vector<ModuleShapes::Shape> of_tokens(int64_t features) {
  if (features <= 0) return {};
  return {{{-1, "tokens"}, {features, ""}}};
}

ModuleShapes shapes_of(const Model& backbone, const std::string& path, const Module& module) {
  const auto* network = as_network(backbone);
  const auto prefix = named(backbone, "");
  if (network != nullptr && path.starts_with(prefix))
    if (const auto* known = network->shapes_at(path.substr(prefix.size()))) return *known;
  const auto* layer = dynamic_cast<const Layer*>(&module);
  const auto size = layer == nullptr ? LayerSize{} : layer->size();
  return {of_tokens(size.in), of_tokens(size.out), 1};
}

Napi::Value to_js(Napi::Env env, const ModuleList& list) {
  auto array = Napi::Array::New(env, list.modules.size());
  for (uint32_t i = 0; i < list.modules.size(); ++i) {
    auto object = Napi::Object::New(env);
    object.Set("path", list.modules[i].path);
    object.Set("type", list.modules[i].type);
    const auto& place = list.modules[i].place;
    object.Set("replaceable", place.has_value());
    object.Set("firstPath", place.value_or(list.modules[i].path));
    object.Set("beside", list.modules[i].beside);
    object.Set("inputs", shapes_to_js(env, list.modules[i].shapes.inputs));
    object.Set("outputs", shapes_to_js(env, list.modules[i].shapes.outputs));
    object.Set("calls", static_cast<double>(list.modules[i].shapes.calls));
    array.Set(i, object);
  }
  return array;
}

struct OperationNumber {
  int64_t number;
};
Napi::Value to_js(Napi::Env env, const OperationNumber& operation) {
  return Napi::Number::New(env, static_cast<double>(operation.number));
}

ModuleDescription to_description(const Napi::Object& object) {
  using Kind = ModuleDescription::Kind;
  ModuleDescription result;
  const auto kind = object.Get("kind").As<Napi::String>().Utf8Value();
  result.kind = kind == "module"         ? Kind::module
                : kind == "sequential"   ? Kind::sequential
                : kind == "parallel"     ? Kind::parallel
                : kind == "adapter"      ? Kind::adapter
                : kind == "hierarchical" ? Kind::hierarchical
                : kind == "dynamic"      ? Kind::dynamic
                                         : Kind::fused;
  result.id = object.Get("id").As<Napi::Number>().Int64Value();
  if (object.Has("path")) result.path = object.Get("path").As<Napi::String>().Utf8Value();
  if (object.Has("parts")) {
    auto parts = object.Get("parts").As<Napi::Array>();
    for (uint32_t i = 0; i < parts.Length(); ++i)
      result.parts.push_back(to_description(parts.Get(i).As<Napi::Object>()));
  }
  if (object.Has("names")) result.names = to_strings(object.Get("names"));
  if (object.Has("hidden_size")) result.hidden_size = object.Get("hidden_size").As<Napi::Number>().Int64Value();
  if (object.Has("sizes")) result.sizes = to_shape(object.Get("sizes"));
  if (object.Has("activation")) result.activation = object.Get("activation").As<Napi::String>().Utf8Value();
  if (object.Has("soft_mask")) result.soft_mask = object.Get("soft_mask").ToBoolean().Value();
  if (object.Has("temperature")) result.temperature = object.Get("temperature").As<Napi::Number>().DoubleValue();
  if (object.Has("identity_start")) result.identity_start = object.Get("identity_start").ToBoolean().Value();
  if (object.Has("scale")) result.scale = object.Get("scale").As<Napi::Number>().DoubleValue();
  if (object.Has("heads")) result.heads = object.Get("heads").As<Napi::Number>().Int64Value();
  return result;
}

}  // namespace

Napi::Value ModelWrap::named_parameters(const Napi::CallbackInfo& info) {
  return sync(info, [](ModelState& s) {
    ParameterList list;
    for (auto& named : s.model.named_parameters()) {
      const auto part = s.model.part_of(named);
      list.parameters.emplace_back(std::move(named), part);
    }
    return list;
  });
}

Napi::Value ModelWrap::named_modules(const Napi::CallbackInfo& info) {
  return sync(info, [](ModelState& s) {
    std::unordered_map<const Slot*, std::string> first;
    std::unordered_map<std::string, std::string> places;
    for (const auto& [path, slot] : slot_paths(s.model.root()))
      places[path] = first.try_emplace(slot, path).first->second;
    std::optional<std::set<std::string>> listed;
    if (const auto* exported = dynamic_cast<const exported::ExportedModel*>(&s.model.backbone()))
      listed = exported::listed_modules(*exported, s.model.root());
    ModuleList list;
    s.model.root().visit_modules("", [&](const std::string& path, const Module& m) {
      const bool beside = listed && !listed->contains(path);
      const auto place = places.find(path);
      list.modules.push_back({path, m.type(), place == places.end() ? std::nullopt : std::optional(place->second),
                              beside, shapes_of(s.model.backbone(), path, m)});
    });
    return list;
  });
}

Napi::Value ModelWrap::replace_modules(const Napi::CallbackInfo& info) {
  auto replacements = guarded(info.Env(), [&] {
    auto array = info[0].As<Napi::Array>();
    std::vector<Replacement> result;
    for (uint32_t i = 0; i < array.Length(); ++i) {
      auto item = array.Get(i).As<Napi::Object>();
      result.push_back(
          {item.Get("path").As<Napi::String>().Utf8Value(), to_description(item.Get("with").As<Napi::Object>())});
    }
    return result;
  });
  return sync(info, [replacements, seed = info[1].As<Napi::Number>().Int64Value(),
                     source = to_weights_source(info[2])](ModelState& s) {
    return OperationNumber{s.model.replace_modules(replacements, static_cast<uint64_t>(seed), source)};
  });
}

Napi::Value ModelWrap::undo_replacement(const Napi::CallbackInfo& info) {
  return sync(info, [number = info[0].As<Napi::Number>().Int64Value()](ModelState& s) {
    return s.model.undo_replacement(number), Done{};
  });
}

Napi::Value ModelWrap::save_inserted(const Napi::CallbackInfo& info) {
  return async(info, [file = text_of(info, 0)](ModelState& s) { return ta::save_inserted(s.model, file), Done{}; });
}

Napi::Value ModelWrap::load_inserted(const Napi::CallbackInfo& info) {
  return async(info, [file = text_of(info, 0)](ModelState& s) { return ta::load_inserted(s.model, file), Done{}; });
}

}  // namespace ta::binding
