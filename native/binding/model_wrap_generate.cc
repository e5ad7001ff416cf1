// The model handle's generation.

#include "binding/model_wrap.h"
#include "core/inference/generate.h"

namespace ta::binding {

namespace {

Napi::Value to_js(Napi::Env env, const std::vector<int32_t>& values) {
  auto array = Napi::Int32Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

struct Written {
  std::vector<std::vector<int32_t>> rows;
};

Napi::Value to_js(Napi::Env env, const Written& written) {
  auto array = Napi::Array::New(env, written.rows.size());
  for (uint32_t i = 0; i < written.rows.size(); ++i) {
    array.Set(i, to_js(env, written.rows[i]));
  }
  return array;
}

// Calls the function with each step's rows and tokens, until stopGenerating has freed it.
auto telling(Engine& engine, const std::weak_ptr<Napi::FunctionReference>& written) {
  return [&engine, written](std::vector<int32_t> rows, std::vector<int32_t> tokens) {
    engine.tell([written, rows = std::move(rows), tokens = std::move(tokens)](Napi::Env env) {
      if (const auto function = written.lock()) function->Call({to_js(env, rows), to_js(env, tokens)});
    });
  };
}

GenerateOptions to_generate_options(const Napi::Object& object) {
  auto number = [&](const char* name) { return object.Get(name).As<Napi::Number>(); };
  GenerateOptions options;
  options.max_new_tokens = number("maxNewTokens").Int64Value();
  options.sample = object.Get("doSample").ToBoolean();
  options.temperature = number("temperature").DoubleValue();
  options.top_k = number("topK").Int64Value();
  options.top_p = number("topP").DoubleValue();
  auto ends = object.Get("endTokens").As<Napi::Array>();
  for (uint32_t i = 0; i < ends.Length(); ++i)
    options.end_tokens.push_back(ends.Get(i).As<Napi::Number>().Int32Value());
  options.seed = static_cast<uint64_t>(number("seed").Int64Value());
  auto rows = object.Get("rowNumbers").As<Napi::Array>();
  for (uint32_t i = 0; i < rows.Length(); ++i)
    options.row_numbers.push_back(static_cast<uint64_t>(rows.Get(i).As<Napi::Number>().Int64Value()));
  return options;
}

}  // namespace

// generate(batch, pass, how, written?): `how.stopId`, where it is not 0, is what stopGenerating knows it by, and then
// `written` is called after each step.
Napi::Value ModelWrap::generate(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto how = info[2].As<Napi::Object>();
    auto options = to_generate_options(how);
    options.stopped = [engine = engine_] { return engine->stopping().load(); };
    if (const auto id = how.Get("stopId").As<Napi::Number>().Int64Value(); id != 0) {
      auto& writing = writings_[id];
      writing.stopped = std::make_shared<std::atomic<bool>>(false);
      options.stopped = [engine = engine_, flag = writing.stopped] {
        return flag->load() || engine->stopping().load();
      };
      if (info[3].IsFunction()) {
        writing.written = std::make_shared<Napi::FunctionReference>(Napi::Persistent(info[3].As<Napi::Function>()));
        options.written = telling(*engine_, writing.written);
      }
    }
    return async(info,
                 [batch = to_batch(info[0].As<Napi::Object>()), pass = to_pass_options(info[1].As<Napi::Object>()),
                  options = std::move(options)](ModelState& s) {
                   const auto request = to_request(pass, s.model, static_cast<int64_t>(batch.row_lengths.size()));
                   return Written{ta::generate(s.model, batch, request.segments, request.head, options)};
                 });
  });
}

// stopGenerating(id): it ends before its next token, if it still runs, and its id is free again.
Napi::Value ModelWrap::stop_generating(const Napi::CallbackInfo& info) {
  const auto found = writings_.find(info[0].As<Napi::Number>().Int64Value());
  if (found == writings_.end()) return info.Env().Undefined();
  found->second.stopped->store(true);
  writings_.erase(found);
  return info.Env().Undefined();
}

}  // namespace ta::binding
