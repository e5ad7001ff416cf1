#include "core/surgery/placement.h"

#include "core/adapters/output_adapter.h"
#include "core/error.h"

namespace ta {

namespace {

constexpr int64_t kLargest = 1 << 20;

struct Maker {
  const std::string& operation;
  const Place& at;
  const ModelConfig& model;

  std::shared_ptr<AdapterModule> operator()(const BottleneckConfig& config) const {
    const bool wanted = (at.location == Location::attention && config.mh_adapter) ||
                        (at.location == Location::output && config.output_adapter);
    const int64_t size = wanted ? config.bottleneck_sizes[at.layer] : 0;
    if (size == 0) return nullptr;
    if (size > kLargest) {
      fail(ErrorCode::out_of_range, operation, text("the bottleneck of layer ", at.layer, " is too large"),
           {.expected = text("at most ", kLargest),
            .got = text(size),
            .hint = "The bottleneck is the hidden size divided by reductionFactor"});
    }
    return std::make_shared<Bottleneck>(model.hidden_size, size, config);
  }

  std::shared_ptr<AdapterModule> operator()(const OutputAdapterConfig& config) const {
    if (at.location != Location::last_hidden_state) return nullptr;
    if (config.size < 1 || config.size > kLargest) {
      fail(ErrorCode::out_of_range, operation, "a size that no adapter can have",
           {.expected = text("1 .. ", kLargest), .got = text(config.size)});
    }
    return std::make_shared<OutputAdapter>(model.hidden_size, config.size, config.activation);
  }
};

void check_layers(const std::string& operation, const BottleneckConfig& config, int64_t layers) {
  if (static_cast<int64_t>(config.bottleneck_sizes.size()) == layers) return;
  fail(ErrorCode::invalid_argument, operation, "bottleneck sizes do not fit the model",
       {.expected = text(layers, " sizes, one a layer"), .got = text(config.bottleneck_sizes.size())});
}

void check_layers(const std::string&, const OutputAdapterConfig&, int64_t) {}

}  // namespace

std::vector<PlacedModule> make_modules(const std::string& operation, const std::vector<AdapterConfig>& configs,
                                       Model& model, AdapterPlace& behind) {
  auto places = model.places();
  const int64_t layers = places.empty() ? 0 : places.back().layer + 1;
  places.push_back({layers, Location::last_hidden_state, &behind});
  for (const auto& config : configs)
    std::visit([&](const auto& method) { check_layers(operation, method, layers); }, config);
  std::vector<PlacedModule> made;
  for (const auto& at : places) {
    bool taken = false;
    for (const auto& config : configs) {
      auto module = std::visit(Maker{operation, at, model.config()}, config);
      if (!module) continue;
      if (taken) {
        fail(ErrorCode::invalid_argument, operation,
             text("two configurations want the same place in layer ", at.layer));
      }
      taken = true;
      made.push_back(
          {at.place, std::move(module), std::visit([](const auto& m) { return m.init_weights_seed; }, config)});
    }
  }
  if (made.empty()) {
    fail(ErrorCode::invalid_argument, operation, "the configuration names no place in this model",
         {.hint = "Set mh_adapter or output_adapter, and leave out fewer layers"});
  }
  return made;
}

}  // namespace ta
