// A store of what frozen layers give, for as long as a training run lasts.
#include "binding/fields.h"
#include "binding/model_wrap.h"

namespace ta::binding {

namespace {

struct StoreReport {
  int64_t layers = 0, rows_read = 0, rows_computed = 0;
  uint64_t bytes = 0;
  bool full = false;
};

Napi::Value to_js(Napi::Env env, const StoreReport& report) {
  auto object = Napi::Object::New(env);
  object.Set("layers", static_cast<double>(report.layers));
  object.Set("rowsRead", static_cast<double>(report.rows_read));
  object.Set("rowsComputed", static_cast<double>(report.rows_computed));
  object.Set("bytes", static_cast<double>(report.bytes));
  object.Set("full", report.full);
  return object;
}

}  // namespace

Napi::Value ModelWrap::open_frozen_states(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto given = info[0].As<Napi::Object>();
    FrozenStatesOptions options;
    options.folder = string(given, "folder");
    options.model = string(given, "model");
    options.max_bytes = static_cast<uint64_t>(integer(given, "maxBytes"));
    options.dtype = string(given, "dtype") == "bfloat16" ? at::kBFloat16 : at::kFloat;
    return sync(info, [options = std::move(options)](ModelState& s) {
      s.frozen_states = std::make_unique<FrozenStates>(s.model, options);
      return Done{};
    });
  });
}

Napi::Value ModelWrap::close_frozen_states(const Napi::CallbackInfo& info) {
  return sync(info, [](ModelState& s) {
    StoreReport report;
    if (const auto store = std::exchange(s.frozen_states, nullptr)) {
      report = {store->layers(), store->rows_read(), store->rows_computed(), store->bytes(), store->full()};
    }
    return report;
  });
}

}  // namespace ta::binding
