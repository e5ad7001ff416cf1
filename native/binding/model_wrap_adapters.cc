// The model handle's calls that add, delete and choose: adapters, fusions, heads, what trains.

#include "binding/model_wrap.h"
#include "core/error.h"
#include "core/surgery/average.h"

namespace ta::binding {

namespace {

std::vector<AverageSource> average_sources(const Napi::Value& value) {
  auto array = value.As<Napi::Array>();
  std::vector<AverageSource> sources;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    auto object = array.Get(i).As<Napi::Object>();
    sources.push_back({object.Get("name").As<Napi::String>().Utf8Value(),
                       object.Get("weight").As<Napi::Number>().DoubleValue(),
                       object.Get("scale").As<Napi::Number>().DoubleValue()});
  }
  return sources;
}

AverageStrategy average_strategy(const std::string& name) {
  if (name == "lora_linear_only_negate_b") return AverageStrategy::negate_b;
  return name == "lora_delta_w_svd" ? AverageStrategy::delta_w_svd : AverageStrategy::linear;
}

}  // namespace

Napi::Value ModelWrap::add_adapter(const Napi::CallbackInfo& info) {
  auto configs = guarded(info.Env(), [&] {
    auto array = info[1].As<Napi::Array>();
    std::vector<AdapterConfig> result;
    for (uint32_t i = 0; i < array.Length(); ++i) result.push_back(to_adapter_config(array.Get(i).As<Napi::Object>()));
    return result;
  });
  return sync(info, [name = text_of(info, 0), configs, seed = info[2].As<Napi::Number>().Int64Value(),
                     replace = info[3].ToBoolean().Value(), source = to_weights_source(info[4])](ModelState& s) {
    s.model.add_adapter(name, configs, static_cast<uint64_t>(seed), replace, source);
    return Done{};
  });
}

Napi::Value ModelWrap::delete_adapter(const Napi::CallbackInfo& info) {
  return sync(info, [name = text_of(info, 0)](ModelState& s) { return s.model.delete_adapter(name), Done{}; });
}

Napi::Value ModelWrap::eject_prefix_tuning(const Napi::CallbackInfo& info) {
  return sync(info, [name = text_of(info, 0)](ModelState& s) { return s.model.eject_prefix_tuning(name), Done{}; });
}

Napi::Value ModelWrap::merge_adapter(const Napi::CallbackInfo& info) {
  return sync(info, [name = text_of(info, 0)](ModelState& s) { return s.model.merge_adapter(name), Done{}; });
}

Napi::Value ModelWrap::average_adapters(const Napi::CallbackInfo& info) {
  return sync(info, [name = text_of(info, 0), scale = info[1].As<Napi::Number>().DoubleValue(),
                     sources = average_sources(info[2]), strategy = average_strategy(text_of(info, 3))](ModelState& s) {
    return ta::average_adapters(s.model, name, scale, sources, strategy), Done{};
  });
}

Napi::Value ModelWrap::average_heads(const Napi::CallbackInfo& info) {
  return sync(info, [name = text_of(info, 0), sources = average_sources(info[1])](ModelState& s) {
    return ta::average_heads(s.model, name, sources), Done{};
  });
}

Napi::Value ModelWrap::reset_adapter(const Napi::CallbackInfo& info) {
  return sync(info, [](ModelState& s) { return s.model.reset_adapter(), Done{}; });
}

Napi::Value ModelWrap::share_parameters(const Napi::CallbackInfo& info) {
  return sync(info, [group = text_of(info, 0), names = to_strings(info[1]), reference = text_of(info, 2)](
                        ModelState& s) { return s.model.share_parameters(group, names, reference), Done{}; });
}

Napi::Value ModelWrap::unshare_parameters(const Napi::CallbackInfo& info) {
  return sync(info, [group = text_of(info, 0)](ModelState& s) { return s.model.unshare_parameters(group), Done{}; });
}

Napi::Value ModelWrap::add_fusion(const Napi::CallbackInfo& info) {
  auto adapters = guarded(info.Env(), [&] { return to_strings(info[1]); });
  auto config = guarded(info.Env(), [&] { return to_fusion_config(info[2].As<Napi::Object>()); });
  return sync(info, [name = text_of(info, 0), adapters, config, seed = info[3].As<Napi::Number>().Int64Value(),
                     replace = info[4].ToBoolean().Value()](ModelState& s) {
    s.model.add_fusion(name, adapters, config, static_cast<uint64_t>(seed), replace);
    return Done{};
  });
}

Napi::Value ModelWrap::delete_fusion(const Napi::CallbackInfo& info) {
  return sync(info, [name = text_of(info, 0)](ModelState& s) { return s.model.delete_fusion(name), Done{}; });
}

namespace {
struct Temperature {
  double value;
};
Napi::Value to_js(Napi::Env env, const Temperature& temperature) {
  return Napi::Number::New(env, temperature.value);
}
}  // namespace

Napi::Value ModelWrap::fusion_temperature(const Napi::CallbackInfo& info) {
  return sync(info, [name = text_of(info, 0)](ModelState& s) {
    s.model.fusion_index(name);
    return Temperature{s.model.fusion_modules(name).front()->temperature};
  });
}

Napi::Value ModelWrap::set_fusion_temperature(const Napi::CallbackInfo& info) {
  return sync(info, [name = text_of(info, 0), value = info[1].As<Napi::Number>().DoubleValue()](ModelState& s) {
    s.model.fusion_index(name);
    for (const auto& fusion : s.model.fusion_modules(name)) fusion->temperature = value;
    return Done{};
  });
}

Napi::Value ModelWrap::add_head(const Napi::CallbackInfo& info) {
  auto config = guarded(info.Env(), [&] { return to_head_config(info[1].As<Napi::Object>()); });
  return sync(info, [name = text_of(info, 0), config, seed = info[2].As<Napi::Number>().Int64Value(),
                     replace = info[3].ToBoolean().Value(), source = to_weights_source(info[4])](ModelState& s) {
    s.model.add_head(name, config, static_cast<uint64_t>(seed), replace, source);
    return Done{};
  });
}

Napi::Value ModelWrap::delete_head(const Napi::CallbackInfo& info) {
  return sync(info, [name = text_of(info, 0)](ModelState& s) { return s.model.delete_head(name), Done{}; });
}

Napi::Value ModelWrap::set_trainable(const Napi::CallbackInfo& info) {
  auto what = guarded(info.Env(), [&] { return to_trainable(info[0].As<Napi::Object>()); });
  return sync(info, [what](ModelState& s) { return s.model.set_trainable(what), Done{}; });
}

}  // namespace ta::binding
