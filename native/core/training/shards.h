#pragma once
// A batch's rows shared among threads: each takes neighbouring rows through the whole network, forward and backward,
// and nobody waits for anybody in between. Threads inside each operator, libtorch's own way, wait for each other some
// hundred times a layer, which eats the second core where products are small.

#include <functional>

#include "core/training/forward.h"

namespace ta {

struct Shard {
  PackedBatch batch;
  ForwardRequest request;
  double share = 0;  ///< of the batch's labels that count: its weight in the mean loss
};

/// The same work with every copy a row of its own where there are fewer rows than threads to share them.
void spread_copies(AdapterModel& model, PackedBatch& batch, ForwardRequest& request);

/// How many threads should share this batch: 1 on a device and for small work.
int shard_count(AdapterModel& model, const PackedBatch& batch);

/// At most `count` shards of about as many tokens, in the order of rows; one where no label counts.
/// Throws what check_labels throws.
std::vector<Shard> split(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request, int count);

/// work(0) .. work(count - 1), each on its own thread, whose operators then use one thread. Throws what one of them
/// throws, after all have ended.
void run_shards(size_t count, const std::function<void(size_t)>& work);

}  // namespace ta
