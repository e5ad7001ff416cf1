#include "core/exported/pass.h"

#include <utility>

#include "core/error.h"
#include "core/exported/mixed_precision.h"
#include "core/exported/tree.h"

namespace ta::exported {

namespace {

thread_local Running* running_here = nullptr;

}  // namespace

bool Pass::fits(const at::Tensor& x) const {
  const int64_t size = x.dim() < 2 ? 0 : x.size(-1);
  return size > 0 && x.numel() / size == rows.rows() * rows.columns();
}

bool Pass::fits(const Execution& execution, int32_t slot) const {
  return (folds() && execution.packed(slot).defined()) || fits(execution.tensor(slot));
}

bool Pass::is_rectangle(const Execution& execution, int32_t slot) const {
  if (execution.packed(slot).defined()) return true;
  const auto& x = execution.tensor(slot);
  return x.dim() == 3 && x.size(0) == rows.rows() && x.size(1) == rows.columns();
}

at::Tensor Pass::packed(Execution& execution, int32_t slot) const {
  if (!folds()) return pack(execution.tensor(slot));
  if (const auto& known = execution.packed(slot); known.defined()) return known;
  const auto x = execution.tensor(slot);
  const auto y = pack(x);
  if (is_rectangle(execution, slot) && x.is_contiguous()) execution.keep_packed(slot, y, rows.rows(), rows.columns());
  return y;
}

void Pass::give(Execution& execution, int32_t slot, const at::Tensor& y, int32_t like) const {
  if (folds() && is_rectangle(execution, like)) {
    execution.set_packed(slot, y, rows.rows(), rows.columns());
  } else {
    execution.set(slot, unpack(y, execution.tensor(like)));
  }
}

at::Tensor Pass::pack(const at::Tensor& x) const {
  for (const auto& [unpacked, packed] : last)
    if (unpacked.is_same(x)) return packed;
  return rectangle ? x.reshape({rows.rows() * rows.columns(), x.size(-1)}) : rows.pack(x);
}

at::Tensor Pass::unpack(const at::Tensor& y, const at::Tensor& like) const {
  auto sizes = like.sizes().vec();
  sizes.back() = y.size(-1);
  if (!rectangle && !rows.even()) return rows.pad(y).view(sizes);
  auto& kept = last[std::exchange(oldest, 1 - oldest)];
  // Views of each other: whoever writes to one writes to both.
  kept = {y.view(sizes), y};
  return kept.first;
}

MaskForm Pass::form_of(int32_t slot, const at::Tensor& mask) const {
  for (const auto& [known, form] : masks)
    if (known == slot) return form;
  return masks.emplace_back(slot, exported::form_of_mask(mask, rows.columns())).second;
}

Running::Running(Execution& execution, const Pass& pass)
    : execution_(execution), pass_(pass), before_(std::exchange(running_here, this)) {}

Running::~Running() {
  running_here = before_;
}

void Running::replace(const SlotPlace& place, Layer& layer, const ForwardContext& context) {
  auto& own = *running_here;
  const auto input = widened(own.execution_.tensor(place.input));
  const auto outer = std::exchange(own.at_, &place);
  const bool outer_run = std::exchange(own.has_run_, false);
  const auto& pass = own.pass_.side(place.source);
  const auto single = RowLayout::single(place.of_rows ? input.size(0) : 0);
  const auto y = place.of_rows ? layer.forward(input, context.with(single)) : layer.forward(pass.pack(input), context);
  own.at_ = outer;
  own.has_run_ = outer_run;
  // Others may read what the module made on the way.
  const auto& graph = own.execution_.program().graph();
  for (int32_t slot : graph.leaving(place.nodes)) {
    if (slot == place.output || own.execution_.has(slot)) continue;
    fail(ErrorCode::unsupported, "forward",
         text("others read more of '", place.path, "' than its output: it cannot be left out"),
         {.hint = "Put it in a sequence with what is new"});
  }
  own.execution_.set(place.output, as_slot(own.execution_, place.output, place.of_rows ? y : pass.unpack(y, input)));
}

at::Tensor Running::run(const SlotPlace& place, const at::Tensor& x) {
  auto* own = running_here;
  if (own == nullptr || own->at_ != &place || own->has_run_) {
    fail(ErrorCode::unsupported, "forward",
         text("'", place.path, "' of an exported model runs in its own place alone, once"),
         {.hint = "Keep it in a sequence where it stood"});
  }
  own->has_run_ = true;
  auto& execution = own->execution_;
  const auto& pass = own->pass_.side(place.source);
  const auto before = execution.tensor(place.input);
  execution.set(place.input, as_slot(execution, place.input, place.of_rows ? x : pass.unpack(x, before)));
  execution.run_nodes(place.nodes);
  auto y = widened(execution.tensor(place.output));
  if (!place.of_rows) y = pass.pack(y);
  // What reads the same value behind this module reads the value itself.
  const auto& info = execution.program().graph().slots[place.input];
  if (info.is_output || (!info.users.empty() && info.users.back() > place.nodes.last))
    execution.set(place.input, before);
  return y;
}

at::Tensor GraphModule::forward(const at::Tensor& x, const ForwardContext&) {
  if (place_ == nullptr)
    fail(ErrorCode::unsupported, "forward", text("a module of type ", type_, " does not run by itself"));
  return Running::run(*place_, x);
}

}  // namespace ta::exported
