// Damaged archives of torch.export (fuzz.h): bytes anywhere, and graphs and tables that are well-formed and wrong. What
// is still readable is run, so that a graph that was tampered with meets the operators, too.
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "core/exported/exported_model.h"
#include "exported_archives.h"
#include "fuzz.h"

namespace {

using ta::Json;

// Those of transformers, and those whose operators are others.
const std::vector<std::string>& fuzzed() {
  static const std::vector<std::string> files = [] {
    std::vector<std::string> result;
    for (const std::string& name : check::exported_models()) result.push_back(check::exported_file(name + ".pt2"));
    for (const char* name : {"operators", "recurrent", "complex", "parametrized", "mixed"})
      result.push_back(std::string("build/fixtures/exported-own/") + name + ".pt2");
    return result;
  }();
  return files;
}

// Opens it as a model, with its places for adapters, and runs the graph by itself.
void read_and_run(const std::string& path) {
  CHECK(ta::exported::ExportedModel(path, at::kCPU).config().hidden_size > 0);
  const check::Exported model(path);
#if !defined(__SANITIZE_ADDRESS__)
  // (Under sanitizers a size that does not fit memory ends the program instead of throwing.)
  const at::NoGradGuard no_grad;
  for (const at::Tensor& output : model.run(check::inputs_for(model.program.graph()))) {
    CHECK(output.defined());
  }
#endif
}

// One value of a document changed: taken away, doubled, a number at which sizes go wrong, or any other value of the
// document, mostly one of its kind (another name, another operator, another list of arguments).
class JsonMutator {
 public:
  JsonMutator(check::Mutator& random, const Json& json) : random_(random) {
    collect(json);
    target_ = all_[random_.below(all_.size())];
    how_ = random_.below(6);
  }

  Json changed(const Json& json) {
    if (&json == target_ && how_ >= 2) return replacement(json);
    if (json.is_array()) {
      Json::Array items;
      for (const Json& item : json.as_array("")) {
        if (&item == target_ && how_ == 0) continue;
        items.push_back(changed(item));
        if (&item == target_ && how_ == 1) items.push_back(items.back());
      }
      return items;
    }
    if (json.is_object()) {
      Json::Object members;
      for (const auto& [name, value] : json.as_object("")) {
        if (&value == target_ && how_ == 0) continue;
        members.emplace_back(name, changed(value));
      }
      return members;
    }
    return json;
  }

 private:
  void collect(const Json& json) {
    all_.push_back(&json);
    if (json.is_array()) {
      for (const Json& item : json.as_array("")) collect(item);
    } else if (json.is_object()) {
      for (const auto& member : json.as_object("")) collect(member.second);
    }
  }

  Json replacement(const Json& json) {
    static constexpr int64_t numbers[] = {-1, 0,   1,     2,          3,          7,
                                          64, 255, 65536, 0x7FFFFFFF, 0x80000000, 0x7FFFFFFFFFFFFFFF};
    if (json.is_integer() && how_ < 4) return numbers[random_.below(std::size(numbers))];
    const Json* donor = all_[random_.below(all_.size())];
    for (int tries = 0; how_ < 5 && donor->kind() != json.kind() && tries < 100; ++tries) {
      donor = all_[random_.below(all_.size())];
    }
    return *donor;
  }

  check::Mutator& random_;
  std::vector<const Json*> all_;
  const Json* target_ = nullptr;
  std::size_t how_ = 0;
};

std::string change_json(check::Mutator& mutator, const std::string& text) {
  const Json json = ta::parse_json(text, "original");
  return ta::write_json(JsonMutator(mutator, json).changed(json));
}

// The models in turn.
void fuzz_entry(const char* kind, const char* ending) {
  const check::TemporaryFolder folder;
  const std::string path = folder.file("m.pt2");
  const auto& sources = fuzzed();
  std::vector<std::string> originals;
  for (const std::string& file : sources) originals.push_back(check::archive_entry(file, ending));
  std::size_t model = 0;
  const auto choose = [&](const std::string& bytes) {
    const auto found = std::find(originals.begin(), originals.end(), bytes);
    if (found != originals.end()) model = static_cast<std::size_t>(found - originals.begin());
  };
  const auto change = [&](check::Mutator& mutator, const std::string& text) {
    choose(text);
    return change_json(mutator, text);
  };
  check::fuzz_changed(kind, originals, change, [&](const std::string& bytes) {
    choose(bytes);
    check::write_archive(path, sources[model], {{ending, bytes}});
    read_and_run(path);
  });
}

}  // namespace

TEST(exported_fuzz_bytes) {
  const check::TemporaryFolder folder;
  const std::string path = folder.file("m.pt2");
  std::vector<std::string> originals;
  for (const std::string& file : fuzzed()) originals.push_back(check::read_file(file));
  check::fuzz("archive", originals, [&](const std::string& bytes) {
    check::write_file(path, bytes);
    read_and_run(path);
  });
}

TEST(exported_fuzz_graphs) {
  fuzz_entry("graph", "model.json");
}

TEST(exported_fuzz_tables) {
  fuzz_entry("table of weights", "model_weights_config.json");
}
