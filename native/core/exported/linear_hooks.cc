// Adapters at Linears: at a product of the graph, or at all that a subclass of nn.Linear does.

#include <algorithm>

#include "core/adapters/lora_place.h"
#include "core/error.h"
#include "core/exported/hooks.h"
#include "core/exported/mixed_precision.h"
#include "core/exported/row_order.h"
#include "core/nn/layer_context.h"

namespace ta::exported {

namespace {

// What a Linear reads, and what it gives by itself where adapters act on that; else undefined. In float32.
struct LinearValues {
  at::Tensor x, y;

  template <class Change>
  LinearValues each(Change change) const {
    return {change(x), y.defined() ? change(y) : y};
  }
};

at::Tensor flat(const at::Tensor& x) {
  return x.reshape({-1, x.size(-1)});
}

// [tokens, in] → [tokens, out]
at::Tensor adapted(const LinearPlace& linear, const LinearValues& tokens, const ForwardContext& context) {
  return tokens.y.defined() ? linear.place->on_whole(tokens.y, tokens.x, context)
                            : linear.layer->forward(tokens.x, context);
}

// The form of x with other features.
at::Tensor formed(const at::Tensor& y, const at::Tensor& x) {
  auto sizes = x.sizes().vec();
  sizes.back() = y.size(-1);
  return y.reshape(sizes);
}

// Whether what stands at a Linear for some shorter row must know where that row ends.
bool asks_where_rows_end(const LinearPlace& linear, const Pass& pass, const ForwardContext& context) {
  const auto lengths = pass.rows.layout().lengths();
  const auto is_shorter = [&](int64_t length) { return length < pass.rows.columns(); };
  for (const auto& [first, last, setup] : *context.segments)
    if (setup && linear.place != nullptr && linear.place->reads_whole_rows(*setup) &&
        std::any_of(lengths.begin() + first, lengths.begin() + last, is_shorter))
      return true;
  return false;
}

// A value that has other tokens than the model's, but as many for each row.
at::Tensor rows_of_their_own(const LinearPlace& linear, const LinearValues& values, const Pass& pass,
                             const ForwardContext& context) {
  const auto tokens = values.each(flat);
  const int64_t per_row = tokens.x.size(0) / pass.rows.rows();
  if (per_row > 1 && !pass.folds() && asks_where_rows_end(linear, pass, context)) {
    fail(ErrorCode::unsupported, "forward",
         text("'", linear.path,
              "' reads other tokens than its rows have, and where a shorter row ends among them is not known"),
         {.expected = "rows of one length, or no gate and no Split there for the shorter ones"});
  }
  const RowLayout layout(std::vector<int64_t>(pass.rows.rows(), per_row));
  return formed(adapted(linear, tokens, context.with(layout)), values.x);
}

// Tokens first: the other way round, and back.
at::Tensor turned(const LinearPlace& linear, const LinearValues& values, const Pass& pass,
                  const ForwardContext& context) {
  const auto own = values.each([&](const at::Tensor& x) {
    return x.reshape({pass.rows.columns(), pass.rows.rows(), x.size(-1)}).transpose(0, 1);
  });
  const auto tokens = own.each([&](const at::Tensor& x) { return pass.pack(x); });
  const auto y = pass.unpack(adapted(linear, tokens, context), own.x);
  return formed(y.transpose(0, 1), values.x);
}

// Rows of a product that are none of the batch's (positions that all rows share): one setup for all is theirs, too.
at::Tensor shared_rows(const LinearPlace& linear, const LinearValues& values, const ForwardContext& context) {
  if (context.segments == nullptr || context.segments->size() != 1) {
    fail(ErrorCode::unsupported, "forward",
         text("'", linear.path,
              "' reads what all rows share, or a part of them: rows of different setups do not meet there"),
         {.expected = "one setup for all rows",
          .hint = "Call it for the rows of each setup, or let the adapter stand at other Linears: targetModules"});
  }
  const auto tokens = values.each(flat);
  const RowLayout one({tokens.x.size(0)});
  const std::vector<RowSegment> segments{{0, 1, context.segments->front().setup}};
  auto own = context.with(one);
  own.segments = &segments;
  return formed(adapted(linear, tokens, own), values.x);
}

}  // namespace

std::vector<SharedLinear> add_linear_hooks(Program& program, const Tree& tree, const std::vector<int64_t>& layer_of) {
  std::vector<SharedLinear> shared;
  for (const auto& linear : tree.linears()) {
    for (const auto& product : linear.products) {
      const int64_t layer = layer_of[product.node];
      const bool source = of_source(program, tree, product.input);
      const auto& streams = tree.streams();
      const auto order = row_order(program.graph(), source ? streams.source : streams.tokens, product.input);
      if (order == RowOrder::shared) shared.push_back({&linear, layer});
      const Range nodes{product.node, product.end};
      // A product under torch.autocast is left to it: what stands there acts on what it gave.
      const bool acts_on_value = linear.whole || program.graph().slots[product.output].dtype != at::kFloat;
      program.hook(nodes, [=, &linear, &product](Execution& execution, const void* p) {
        const auto& pass = static_cast<const Pass*>(p)->side(source);
        if (pass.context.segments == nullptr) return false;
        const LayerContext here(pass.context, layer);
        if (!linear.layer->extended(here)) return false;
        const bool fits = order == RowOrder::rows && pass.fits(execution, product.input);
        if (fits && !acts_on_value) {
          const auto y = linear.layer->forward(pass.packed(execution, product.input), here);
          pass.give(execution, product.output, y, product.input);
          return true;
        }
        LinearValues values{widened(execution.tensor(product.input)), {}};
        if (acts_on_value) {
          execution.run_nodes(nodes);
          values.y = widened(execution.tensor(product.output));
        }
        const auto give = [&](const at::Tensor& y) {
          execution.set(product.output, as_slot(execution, product.output, y));
        };
        if (fits) {
          const auto tokens = values.each([&](const at::Tensor& x) { return pass.pack(x); });
          give(pass.unpack(adapted(linear, tokens, here), values.y));
        } else if (order == RowOrder::own && values.x.size(0) == pass.rows.rows()) {
          give(rows_of_their_own(linear, values, pass, here));
        } else if (order == RowOrder::tokens && pass.fits(values.x)) {
          give(turned(linear, values, pass, here));
        } else {
          give(shared_rows(linear, values, here));
        }
        return true;
      });
    }
  }
  return shared;
}

}  // namespace ta::exported
