#include "binding/exported_wrap.h"

#include "binding/model_wrap.h"
#include "core/error.h"
#include "core/exported/exported_model.h"

namespace ta::binding {

namespace {

using exported::Choices;
using exported::ExportedModel;
using exported::Facts;
using exported::Pooling;
using exported::Reading;
using Handle = std::shared_ptr<ExportedModel>;

template <class List, class Make>
Napi::Array list_to_js(Napi::Env env, const List& list, Make make) {
  auto array = Napi::Array::New(env, list.size());
  uint32_t i = 0;
  for (const auto& item : list) array.Set(i++, make(item));
  return array;
}

Napi::Object facts_to_js(Napi::Env env, const ExportedModel& model) {
  const auto& facts = model.facts();
  const auto text = [&](const std::string& value) -> Napi::Value { return Napi::String::New(env, value); };
  auto object = Napi::Object::New(env);
  object.Set("type", model.type());
  object.Set("hidden", static_cast<double>(facts.hidden));
  object.Set("outputSize", static_cast<double>(facts.output_width));
  object.Set("layers", static_cast<double>(facts.layers));
  object.Set("vocabulary", static_cast<double>(facts.vocabulary));
  object.Set("longestRow", static_cast<double>(facts.longest_row));
  object.Set("rowTokens", static_cast<double>(facts.row_tokens));
  object.Set("isCausal", facts.is_causal);
  object.Set("ownLabels", static_cast<double>(facts.own_labels));
  object.Set("ownHeadReadsRows", facts.own_head_reads_rows);
  object.Set("ownHeadGivesSpans", facts.own_head_gives_spans);
  object.Set("layersPath", facts.layers_path);
  object.Set("lengthText", facts.length_text);
  object.Set("tokensText", facts.tokens_text);
  object.Set("hasDecoder", facts.has_decoder);
  object.Set("outputs", list_to_js(env, facts.outputs, text));
  object.Set("keyFeatures", static_cast<double>(facts.key_features));
  object.Set("keyHeads", static_cast<double>(facts.key_heads));
  object.Set("prefix", facts.prefix);
  object.Set("topLevel", list_to_js(env, facts.top_level, text));
  object.Set("inputs", list_to_js(env, facts.inputs, text));
  object.Set("image", shape_to_js(env, facts.image));
  object.Set("explanation", list_to_js(env, facts.explanation, text));
  object.Set("sites", list_to_js(env, facts.sites, text));
  object.Set("linears", list_to_js(env, facts.linears, [&](const Facts::Linear& linear) -> Napi::Value {
               auto one = Napi::Object::New(env);
               one.Set("path", linear.path);
               one.Set("layer", static_cast<double>(linear.layer));
               one.Set("in", static_cast<double>(linear.in));
               one.Set("out", static_cast<double>(linear.out));
               one.Set("transposed", linear.transposed);
               one.Set("merged", linear.merged);
               one.Set("place", linear.location ? text(exported::name_of(*linear.location)) : env.Null());
               return one;
             }));
  auto unclear = Napi::Object::New(env);
  for (const auto& [path, why] : facts.unclear_linears) unclear.Set(path, why);
  object.Set("unclearLinears", unclear);
  auto extra = Napi::Object::New(env);
  for (const auto& [name, bytes] : model.archive().extra())
    extra.Set(name, Napi::Buffer<char>::Copy(env, bytes.data(), bytes.size()));
  object.Set("extra", extra);
  return object;
}

// `argument`: a pattern, '' for nowhere, or undefined for what the graph shows.
std::optional<std::string> pattern_of(const Napi::CallbackInfo& info, size_t argument) {
  return info[argument].IsUndefined() ? std::nullopt : std::optional(text_of(info, argument));
}

Reading to_reading(const Napi::CallbackInfo& info) {
  const auto pooling = text_of(info, 3);
  Reading reading{text_of(info, 2)};
  if (pooling == "first") reading.pooling = Pooling::first;
  if (pooling == "last") reading.pooling = Pooling::last;
  if (pooling == "mean") reading.pooling = Pooling::mean;
  return reading;
}

}  // namespace

Napi::Value open_exported(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Engine::of(info.Env())
        .submit(
            info.Env(),
            [path = text_of(info, 0), device = at::Device(text_of(info, 1)),
             choices = Choices{to_reading(info), {pattern_of(info, 4), pattern_of(info, 5)}}] {
              return std::make_shared<ExportedModel>(path, device, choices);
            },
            [](Napi::Env env, Handle& model) -> Napi::Value {
              auto object = Napi::Object::New(env);
              object.Set("facts", facts_to_js(env, *model));
              object.Set("handle", Napi::External<Handle>::New(env, new Handle(std::move(model)),
                                                               [](Napi::BasicEnv, Handle* handle) { delete handle; }));
              return object;
            });
  });
}

Napi::Value create_exported(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto env = info.Env();
    if (!info[0].IsExternal()) wrong_type("handle", "what openExported gave");
    auto model = std::exchange(*info[0].As<Napi::External<Handle>>().Data(), nullptr);
    if (!model) fail(ErrorCode::invalid_argument, "create model", "this handle has given its model");
    model->configure(to_model_config(info[1].As<Napi::Object>()), text_of(info, 2));
    auto state = std::make_shared<ModelState>(std::move(model), at::Device(text_of(info, 3)), at::kFloat);
    return Engine::model_class(env).New({Napi::External<std::shared_ptr<ModelState>>::New(env, &state)});
  });
}

}  // namespace ta::binding
