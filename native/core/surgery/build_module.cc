#include "core/surgery/build_module.h"

#include "core/adapters/dynamic_adapter.h"
#include "core/adapters/fused_adapters.h"
#include "core/adapters/hierarchical_adapter.h"
#include "core/adapters/parallel_layer.h"
#include "core/error.h"
#include "core/nn/sequential.h"
#include "core/surgery/module_path.h"

namespace ta {

namespace {

constexpr int64_t kLargestSize = 1 << 20;
constexpr size_t kDeepest = 32;

class Builder {
 public:
  Builder(const Module& root, const std::string& operation, const std::map<int64_t, std::weak_ptr<Layer>>& known,
          BuiltModules& built)
      : root_(root), operation_(operation), known_(known), built_(built) {}

  std::shared_ptr<Layer> build(const ModuleDescription& what, size_t depth = 0) {
    if (depth > kDeepest) fail(ErrorCode::out_of_range, operation_, "a description of too many levels");
    if (auto there = existing(what)) return there;
    auto layer = make(what, depth);
    if (what.id >= 0) built_.by_id[what.id] = layer;
    return layer;
  }

 private:
  std::shared_ptr<Layer> existing(const ModuleDescription& what) {
    if (what.kind == ModuleDescription::Kind::module) return find_slot(root_, operation_, what.path).occupant;
    if (const auto here = built_.by_id.find(what.id); here != built_.by_id.end()) return here->second;
    const auto before = known_.find(what.id);
    auto layer = before == known_.end() ? nullptr : before->second.lock();
    if (layer) use(layer);
    return layer;
  }

  // The layers of surgery in a module that an earlier operation made.
  void use(const std::shared_ptr<Module>& module) {
    if (auto layer = std::dynamic_pointer_cast<InsertedLayer>(module)) built_.used.push_back(layer);
    for (const auto& child : module->children()) use(child.module);
  }

  std::shared_ptr<Layer> make(const ModuleDescription& what, size_t depth) {
    if (what.kind == ModuleDescription::Kind::sequential) return sequence(what, depth);
    if (what.kind == ModuleDescription::Kind::parallel) return parallel(what, depth);
    check_sizes(what);
    std::shared_ptr<InsertedLayer> layer;
    if (what.kind == ModuleDescription::Kind::adapter) {
      layer = std::make_shared<AdapterLayer>(what.hidden_size, what.sizes[0], what.activation);
    } else if (what.kind == ModuleDescription::Kind::hierarchical) {
      layer = std::make_shared<HierarchicalAdapter>(what.hidden_size, what.sizes, what.activation);
    } else if (what.kind == ModuleDescription::Kind::dynamic) {
      const DynamicOptions options{what.soft_mask, what.temperature, what.identity_start};
      layer = std::make_shared<DynamicAdapter>(what.hidden_size, what.sizes[0], options);
    } else {
      layer = fused(what, depth);
    }
    layer->keep_own();
    built_.made.push_back(layer);
    built_.used.push_back(layer);
    return layer;
  }

  std::shared_ptr<Layer> sequence(const ModuleDescription& what, size_t depth) {
    std::vector<std::shared_ptr<Layer>> layers;
    int64_t width = 0;
    for (const auto& part : what.parts) {
      layers.push_back(build(part, depth + 1));
      const auto size = layers.back()->size();
      if (width != 0 && size.in != 0 && size.in != width) {
        fail(ErrorCode::invalid_argument, operation_,
             text("part ", layers.size() - 1, " of a sequence does not take what the one before it gives"),
             {.expected = text(width, " features"), .got = text(size.in), .hint = "Set its hiddenSize"});
      }
      if (size.out != 0) width = size.out;
    }
    return std::make_shared<Sequential>(layers);
  }

  std::shared_ptr<Layer> parallel(const ModuleDescription& what, size_t depth) {
    auto module = build(what.parts.at(0), depth + 1), adapter = build(what.parts.at(1), depth + 1);
    const auto [in, out] = module->size();
    const auto width = adapter->size().in;
    if ((in != 0 && in != width) || (out != 0 && out != width)) {
      fail(ErrorCode::invalid_argument, operation_, "an adapter does not fit the module that it stands beside",
           {.expected = text(width, " → ", width, " features, the adapter's"),
            .got = text(in, " → ", out, ", the module's"),
            .hint = "Set the adapter's hiddenSize; a module that gives another number of features has none beside it"});
    }
    return std::make_shared<ParallelLayer>(std::move(module), std::move(adapter), what.scale);
  }

  std::shared_ptr<InsertedLayer> fused(const ModuleDescription& what, size_t depth) {
    FusedAdapters::Named adapters;
    for (size_t i = 0; i < what.parts.size(); ++i) {
      const auto& part = what.parts[i];
      using Kind = ModuleDescription::Kind;
      if (part.kind == Kind::module || part.kind == Kind::sequential || part.kind == Kind::parallel) {
        fail(ErrorCode::invalid_argument, operation_, "a fusion is of new adapters");
      }
      auto adapter = build(part, depth + 1);
      if (adapter->size().in != what.hidden_size) {
        fail(ErrorCode::invalid_argument, operation_,
             "adapter '" + what.names[i] + "' has another size than its fusion",
             {.expected = text(what.hidden_size), .got = text(adapter->size().in)});
      }
      adapters.emplace_back(what.names[i], std::move(adapter));
    }
    return std::make_shared<FusedAdapters>(adapters, what.hidden_size, what.heads);
  }

  void check_sizes(const ModuleDescription& what) const {
    auto sizes = what.sizes;
    sizes.push_back(what.hidden_size);
    for (int64_t size : sizes) {
      if (size >= 1 && size <= kLargestSize) continue;
      fail(ErrorCode::out_of_range, operation_, "a size that no adapter can have",
           {.expected = text("1 .. ", kLargestSize), .got = text(size)});
    }
  }

  const Module& root_;
  const std::string& operation_;
  const std::map<int64_t, std::weak_ptr<Layer>>& known_;
  BuiltModules& built_;
};

}  // namespace

std::shared_ptr<Layer> build_module(const Module& root, const std::string& operation, const ModuleDescription& what,
                                    const std::map<int64_t, std::weak_ptr<Layer>>& known, BuiltModules& built) {
  return Builder(root, operation, known, built).build(what);
}

}  // namespace ta
