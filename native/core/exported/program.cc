#include "core/exported/program.h"

#include <map>
#include <utility>

#include "core/error.h"
#include "core/exported/archive.h"
#include "core/exported/plan.h"
#include "core/state/dtype.h"

namespace ta::exported {
namespace {

// "[2, s43]"
std::string shape_text(const Graph& graph, const SlotInfo& slot) {
  std::string result = "[";
  for (const Size& size : slot.shape) {
    if (result.size() > 1) result += ", ";
    result += size.symbol < 0 ? text(size.number) : graph.symbols[static_cast<std::size_t>(size.symbol)].text;
  }
  return result + "]";
}

bool fits(const SlotInfo& slot, at::IntArrayRef sizes) {
  if (slot.shape.size() != sizes.size()) return false;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (slot.shape[i].symbol < 0 && slot.shape[i].number != sizes[i]) return false;
  }
  return true;
}

std::string kind_text(const at::Tensor& tensor) {
  return tensor.defined() ? dtype_name(tensor.scalar_type()) + text(" ", tensor.sizes()) : "an undefined tensor";
}

}  // namespace

Program::Program(Graph graph, const Archive& archive, at::Device device)
    : graph_(std::move(graph)), device_(device), plan_(std::make_unique<Plan>(graph_, device)) {
  const c10::InferenceMode off(false);
  own_.reserve(graph_.inputs.size());
  // One storage, one place in it: one weight under several names.
  std::map<std::pair<const void*, int64_t>, int32_t> storages;
  for (const Input& input : graph_.inputs) {
    if (input.kind == Input::Kind::user) {
      user_inputs_.push_back(input.slot);
      continue;
    }
    const int32_t index = static_cast<int32_t>(bound_.size());
    Bound bound{input.slot, nullptr, index, input.kind == Input::Kind::parameter, input.persistent};
    const at::Tensor* value = archive.weights().find(input.name);
    if (!value) value = archive.constants().find(input.name);
    if (value && value->numel() > 0) {
      const auto key = std::pair(value->storage().data(), value->storage_offset());
      bound.tied_to = storages.emplace(key, index).first->second;
    }
    own_.emplace_back();
    if (!input.persistent) {
      if (!value) {
        fail(ErrorCode::file_format, "read " + graph_.source, "the archive has no values for '" + input.name + "'");
      }
      own_.back() = value->to(device_);
      bound.tensor = &own_.back();
    }
    if (!index_.emplace(input.name, index).second) {
      fail(ErrorCode::file_format, "read " + graph_.source, "two inputs are '" + input.name + "'");
    }
    bound_.push_back(bound);
  }
}

Program::~Program() = default;

int32_t Program::weight_index(const std::string& name) const {
  const auto found = index_.find(name);
  if (found != index_.end()) return found->second;
  fail(ErrorCode::invalid_argument, "bind '" + name + "'", "the graph reads no weight of this name");
}

void Program::bind(const std::string& name, const at::Tensor* tensor) {
  bound_[static_cast<std::size_t>(weight_index(name))].tensor = tensor;
  keep_form(nullptr);
}

void Program::load(const StateDict& weights, const std::string& prefix) {
  const std::string operation = "load weights into " + graph_.source;
  std::vector<std::string> missing;
  std::vector<at::Tensor> found(bound_.size());
  std::size_t used = 0;
  for (const auto& [name, index] : index_) {
    const Bound& bound = bound_[static_cast<std::size_t>(index)];
    if (!bound.persistent) continue;
    const at::Tensor* value = weights.find(prefix + name);
    if (!value) continue;
    ++used;
    const SlotInfo& slot = graph_.slots[static_cast<std::size_t>(bound.slot)];
    if (!fits(slot, value->sizes()) || (slot.dtype && *slot.dtype != value->scalar_type())) {
      fail(ErrorCode::state_dict, operation, "'" + prefix + name + "' is another tensor than the graph's",
           {.expected = (slot.dtype ? dtype_name(*slot.dtype) + " " : "") + shape_text(graph_, slot),
            .got = kind_text(*value),
            .hint = "Take weights of the same configuration, in the element type that was exported."});
    }
    found[static_cast<std::size_t>(index)] = value->to(device_);
  }
  for (const auto& [name, index] : index_) {
    at::Tensor& value = found[static_cast<std::size_t>(index)];
    const Bound& bound = bound_[static_cast<std::size_t>(index)];
    if (value.defined() || !bound.persistent) continue;
    // Files hold a tied weight once.
    for (std::size_t i = 0; i < bound_.size() && !value.defined(); ++i) {
      if (bound_[i].tied_to == bound.tied_to) value = found[i];
    }
    if (!value.defined()) missing.push_back(prefix + name);
  }
  std::vector<std::string> unknown;
  if (used < weights.size()) {
    for (const std::string& name : weights.names()) {
      if (!name.starts_with(prefix) || !index_.contains(name.substr(prefix.size()))) unknown.push_back(name);
    }
  }
  if (!missing.empty() || !unknown.empty()) {
    fail(ErrorCode::state_dict, operation, "the names are not the graph's",
         {.expected = missing.empty() ? "" : "also " + name_list(missing),
          .got = unknown.empty() ? "" : "unknown " + name_list(unknown)});
  }
  for (std::size_t i = 0; i < bound_.size(); ++i) {
    if (!found[i].defined()) continue;
    own_[i] = std::move(found[i]);
    bound_[i].tensor = &own_[i];
  }
}

std::shared_ptr<const FormValues> Program::form_values() const {
  const std::lock_guard lock(form_lock_);
  return form_;
}
void Program::keep_form(std::shared_ptr<const FormValues> values) const {
  const std::lock_guard lock(form_lock_);
  form_ = std::move(values);
}

void Program::hook(Range range, Hook hook) {
  keep_form(nullptr);
  plan_->add_hook(range, std::move(hook));
}
void Program::shortcut(Range range, Hook hook) {
  keep_form(nullptr);
  plan_->add_hook(range, std::move(hook), true);
}
void Program::clear_hooks() {
  keep_form(nullptr);
  plan_->clear_hooks();
}
std::size_t Program::hook_count() const {
  return plan_->hooks.size();
}

void Program::check_inputs(const std::vector<at::Tensor>& inputs) const {
  const std::string operation = "run " + graph_.source;
  if (inputs.size() != user_inputs_.size()) {
    fail(ErrorCode::invalid_argument, operation, "the graph takes another number of inputs",
         {.expected = text(user_inputs_.size()), .got = text(inputs.size())});
  }
  std::vector<int64_t> sizes(graph_.symbols.size(), -1);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const SlotInfo& slot = graph_.slots[static_cast<std::size_t>(user_inputs_[i])];
    const at::Tensor& input = inputs[i];
    const bool is_typed = input.defined() && (!slot.dtype || *slot.dtype == input.scalar_type());
    if (!is_typed || input.device() != device_ || !fits(slot, input.sizes())) {
      fail(ErrorCode::invalid_argument, operation, "input '" + slot.name + "' does not fit the graph",
           {.expected =
                (slot.dtype ? dtype_name(*slot.dtype) + " " : "") + shape_text(graph_, slot) + " on " + device_.str(),
            .got = kind_text(input) + (input.defined() ? " on " + input.device().str() : "")});
    }
    for (std::size_t j = 0; j < slot.shape.size(); ++j) {
      if (slot.shape[j].symbol < 0) continue;
      const Symbol& symbol = graph_.symbols[static_cast<std::size_t>(slot.shape[j].symbol)];
      const int64_t size = input.size(static_cast<int64_t>(j));
      if (size < symbol.least || size > symbol.most) {
        fail(ErrorCode::out_of_range, operation, text("size ", j, " of input '", slot.name, "'"),
             {.expected = text(symbol.least, " to ", symbol.most),
              .got = text(size),
              .hint = "The graph was exported for sizes in this range."});
      }
      int64_t& known = sizes[static_cast<std::size_t>(slot.shape[j].symbol)];
      if (known >= 0 && known != size) {
        fail(ErrorCode::invalid_argument, operation,
             text("size ", j, " of input '", slot.name, "' is another than that of an input before it"),
             {.expected = text(symbol.text, " = ", known), .got = text(size)});
      }
      known = size;
    }
  }
}

}  // namespace ta::exported
