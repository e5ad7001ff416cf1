// The model handle's calls that write and read files.

#include "binding/model_wrap.h"
#include "core/surgery/model_state.h"
#include "core/surgery/peft_files.h"
#include "core/surgery/state_io.h"

namespace ta::binding {

namespace {

// A class's modules and the index of each in our head.
HeadLayers head_layers(const Napi::Value& value) {
  HeadLayers layers;
  if (!value.IsObject()) return layers;
  auto object = value.As<Napi::Object>();
  auto names = object.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    layers.emplace_back(names.Get(i).As<Napi::String>().Utf8Value(),
                        object.Get(names.Get(i)).As<Napi::Number>().Int64Value());
  }
  return layers;
}

Multihead multihead_of(const Napi::Value& value) {
  Multihead result;
  auto object = value.As<Napi::Object>();
  auto names = object.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    auto factors = object.Get(names.Get(i)).As<Napi::Array>();
    const auto factor = [&](uint32_t part) { return factors.Get(part).As<Napi::Number>().DoubleValue(); };
    result[names.Get(i).As<Napi::String>().Utf8Value()] = {factor(0), factor(1)};
  }
  return result;
}

std::vector<FoldedLinear> folded_linears(const Napi::Value& value) {
  std::vector<FoldedLinear> folded;
  if (!value.IsArray()) return folded;
  auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) {
    auto one = array.Get(i).As<Napi::Object>();
    folded.push_back({one.Get("module").As<Napi::String>().Utf8Value(),
                      one.Get("source").As<Napi::String>().Utf8Value(),
                      parse_folded_kind(one.Get("kind").As<Napi::String>().Utf8Value()),
                      one.Get("scale").As<Napi::Number>().DoubleValue()});
  }
  return folded;
}

// [theirs, ours, theirs, ours, …]
std::vector<NameInFile> names_in_file(const Napi::Value& value) {
  auto flat = to_strings(value);
  std::vector<NameInFile> names;
  for (size_t i = 0; i + 1 < flat.size(); i += 2) names.push_back({std::move(flat[i]), std::move(flat[i + 1])});
  return names;
}

struct SharedNames {
  std::vector<NameInFile> names;
};
Napi::Value to_js(Napi::Env env, const SharedNames& shared) {
  auto array = Napi::Array::New(env, 2 * shared.names.size());
  uint32_t i = 0;
  for (const auto& [first, name] : shared.names) {
    array.Set(i++, first);
    array.Set(i++, name);
  }
  return array;
}

at::ScalarType stored_type(const std::string& name) {
  return name == "float16" ? at::kHalf : name == "bfloat16" ? at::kBFloat16 : at::kFloat;
}

}  // namespace

Napi::Value ModelWrap::save_adapter(const Napi::CallbackInfo& info) {
  return async(info, [file = text_of(info, 0), name = text_of(info, 1), format = text_of(info, 2),
                      dialect = text_of(info, 3)](ModelState& s) {
    ta::save_adapter(s.model, name, file, parse_weights_format(format), parse_key_dialect(dialect));
    return Done{};
  });
}

Napi::Value ModelWrap::save_fusion(const Napi::CallbackInfo& info) {
  return async(info, [file = text_of(info, 0), name = text_of(info, 1), format = text_of(info, 2)](ModelState& s) {
    ta::save_fusion(s.model, name, file, parse_weights_format(format));
    return Done{};
  });
}

Napi::Value ModelWrap::load_fusion(const Napi::CallbackInfo& info) {
  return async(info, [file = text_of(info, 0), name = text_of(info, 1), from = text_of(info, 2)](ModelState& s) {
    return ta::load_fusion(s.model, name, from, file), Done{};
  });
}

Napi::Value ModelWrap::save_head(const Napi::CallbackInfo& info) {
  return async(info, [file = text_of(info, 0), name = text_of(info, 1), format = text_of(info, 2)](ModelState& s) {
    ta::save_head(s.model, name, file, parse_weights_format(format));
    return Done{};
  });
}

Napi::Value ModelWrap::load_adapter(const Napi::CallbackInfo& info) {
  return async(info, [file = text_of(info, 0), name = text_of(info, 1), from = text_of(info, 2)](ModelState& s) {
    return ta::load_adapter(s.model, name, from, file), Done{};
  });
}

Napi::Value ModelWrap::save_peft_adapter(const Napi::CallbackInfo& info) {
  return async(
      info, [file = text_of(info, 0), name = text_of(info, 1), format = text_of(info, 2), head = head_layers(info[3]),
             bare = info[3].IsNull(), own = to_strings(info[4]), multihead = multihead_of(info[5])](ModelState& s) {
        ta::save_peft_adapter(s.model, name, file, parse_weights_format(format), head, bare, own, multihead);
        return Done{};
      });
}

Napi::Value ModelWrap::load_peft_adapter(const Napi::CallbackInfo& info) {
  return async(info, [file = text_of(info, 0), name = text_of(info, 1), head_modules = to_strings(info[2]),
                      own = to_strings(info[3])](ModelState& s) {
    return ta::load_peft_adapter(s.model, name, file, head_modules, own), Done{};
  });
}

Napi::Value ModelWrap::load_head(const Napi::CallbackInfo& info) {
  return async(info, [file = text_of(info, 0), name = text_of(info, 1), from = text_of(info, 2),
                      layers = head_layers(info[3]), folded = folded_linears(info[4])](ModelState& s) {
    return ta::load_head(s.model, name, from, file, layers, folded), Done{};
  });
}

Napi::Value ModelWrap::save_base(const Napi::CallbackInfo& info) {
  return async(info, [file = text_of(info, 0), dtype = stored_type(text_of(info, 1)),
                      format = parse_weights_format(text_of(info, 2))](ModelState& s) {
    return ta::save_base(s.model, file, dtype, format), Done{};
  });
}

Napi::Value ModelWrap::save_whole(const Napi::CallbackInfo& info) {
  const WholeParts parts{to_strings(info[2]), to_strings(info[3]), to_strings(info[4])};
  return async(info, [file = text_of(info, 0), dtype = stored_type(text_of(info, 1)), parts](ModelState& s) {
    return ta::save_whole(s.model, file, dtype, parts), Done{};
  });
}

Napi::Value ModelWrap::shared_names(const Napi::CallbackInfo& info) {
  return sync(info, [](ModelState& s) { return SharedNames{ta::shared_names(s.model)}; });
}

Napi::Value ModelWrap::save_state(const Napi::CallbackInfo& info) {
  return async(info, [file = text_of(info, 0), dtype = stored_type(text_of(info, 1)),
                      format = parse_weights_format(text_of(info, 2)), names = names_in_file(info[3])](ModelState& s) {
    return ta::save_state(s.model, file, dtype, format, names), Done{};
  });
}

Napi::Value ModelWrap::load_state(const Napi::CallbackInfo& info) {
  return async(info, [file = text_of(info, 0), names = names_in_file(info[1]), required = to_strings(info[2])](
                         ModelState& s) { return ta::load_state(s.model, file, names, required), Done{}; });
}

}  // namespace ta::binding
