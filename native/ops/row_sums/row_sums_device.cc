// The sums on a device, in rounds of whole sequences.
#include <algorithm>

#include "base/integers.h"
#include "device/stream.h"
#include "ops/row_sums/row_sums.h"
#include "ops/slots/slots.h"

namespace rubricate {
namespace {

constexpr int64_t kDeviceRoundBytes = int64_t{64} << 20;  // of tiles' sums; a single sequence may have more

int64_t tiles_of(const SequenceRows& rows, int64_t s) {
  return ceil_div(rows.starts[s + 1] - rows.starts[s], kSumRows);
}

bool any_summed(const RowSums& sums, const SequenceRows& rows) {
  for (int64_t s = 0; s < rows.sequences; ++s) {
    const auto slot = static_cast<size_t>(rows.slots[s]);
    if (slot < sums.products.size() && rows.starts[s] < rows.starts[s + 1] &&
        (sums.products[slot] != nullptr || sums.plain[slot] != nullptr))
      return true;
  }
  return false;
}

// Sequences whose tiles' sums are in memory at the same time.
struct SequenceRound {
  int64_t first, last;            // sequences
  int64_t first_tile, last_tile;  // their tiles
};
std::vector<SequenceRound> rounds_of(const SequenceRows& rows, int64_t most) {
  std::vector<SequenceRound> rounds{{0, 0, 0, 0}};
  for (int64_t s = 0; s < rows.sequences; ++s) {
    const int64_t tiles = tiles_of(rows, s);
    if (rounds.back().last_tile - rounds.back().first_tile + tiles > most && rounds.back().last > rounds.back().first)
      rounds.push_back({s, s, rounds.back().last_tile, rounds.back().last_tile});
    rounds.back().last = s + 1;
    rounds.back().last_tile += tiles;
  }
  return rounds;
}

}  // namespace

void sum_rounds_on_device(Tape& tape, const RowSums& sums, const SequenceRows& rows, const Tensor& dh,
                          const std::vector<const float*>& scale,
                          const std::function<void(const SlotSumsArgs& args, int64_t begin, int64_t end)>& run) {
  const int64_t cols = sums.grad.cols();
  const bool summed = any_summed(sums, rows);
  const SlotRowsOnDevice placed = sequences_on_device(tape, rows, kSumRows);
  const auto scales = slot_table_on_device(tape, scale);
  const auto products = slot_table_on_device(tape, sums.products), plain = slot_table_on_device(tape, sums.plain);
  SlotSumsArgs args;
  args.dtype = sums.grad.dtype();
  args.cols = cols;
  args.x = sums.x.raw();
  args.grad = sums.grad.raw();
  args.mean = sums.mean;
  args.inv = sums.inv;
  args.dh = dh.raw();
  args.rows = placed.rows;
  args.scale = scales.table;
  args.products = products.table;
  args.plain = plain.table;

  const int64_t most =
      summed ? std::max<int64_t>(1, kDeviceRoundBytes / std::max<int64_t>(1, 2 * 4 * cols)) : INT64_MAX;
  const std::vector<SequenceRound> rounds = rounds_of(rows, most);
  int64_t tiles = 0;
  for (const SequenceRound& round : rounds) tiles = std::max(tiles, round.last_tile - round.first_tile);
  const Tensor partials = summed ? tape.empty({tiles, 2, cols}, DType::f32) : Tensor();
  args.partials = static_cast<float*>(partials.raw());
  for (const SequenceRound& round : rounds) {
    args.first_sequence = round.first;
    args.last_sequence = round.last;
    args.first_tile = round.first_tile;
    args.last_tile = round.last_tile;
    run(args, rows.starts[round.first], rows.starts[round.last]);
  }
}

}  // namespace rubricate
