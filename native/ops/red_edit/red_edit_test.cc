#include "ops/red_edit/red_edit.h"

#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

struct Case {
  std::vector<std::pair<int32_t, int32_t>> sequences;  // length and slot
  int64_t cols;
  bool scale = true, bias = true;
};

const std::vector<Case> kCases = {
    {{{1, 1}}, 1},
    {{{5, 1}}, 16},
    {{{3, 0}, {7, 2}, {1, 1}, {0, 2}, {9, 2}}, 33},
    {{{130, 1}, {64, 2}, {65, 1}, {10, 0}}, 100},
    {{{5, 1}, {6, 2}}, 48, true, false},
    {{{5, 1}, {6, 2}}, 48, false, true},
    {{{700, 1}}, 1030},
    {{{300, 1}, {200, 0}, {17, 2}}, 257},
    {{{0, 1}}, 5},
    {{{70, 1}, {3, 0}, {20, 2}}, 1032},  // whole chunks of 8 columns, more than one block has
};

SlotVectors random_slots(const std::shared_ptr<Arena>& arena, int64_t slots, int64_t cols, bool scale, bool bias) {
  SlotVectors edit{{{}}};
  for (int64_t s = 1; s < slots; ++s) {
    const auto seed = static_cast<uint64_t>(100 + 2 * s);
    SlotVectors::Vectors vectors;
    if (scale) vectors.scale = Var::parameter(random_tensor(arena, {cols}, DType::f32, seed, -2.0, 2.0));
    if (bias) vectors.bias = Var::parameter(random_tensor(arena, {cols}, DType::f32, seed + 1));
    edit.slots.push_back(vectors);
  }
  return edit;
}

// The contract's order, in plain scalar code.
float chain_step(float a, float b, float c) {
  return cpu_path() == CpuPath::portable && !present_device() ? a * b + c : std::fma(a, b, c);
}

struct Sums {
  std::vector<float> products, plain;
};
Sums ordered_sums(const Tensor& h, const Tensor& grad, const TestRows& rows, int32_t slot) {
  const int64_t cols = h.cols();
  Sums total{std::vector<float>(static_cast<size_t>(cols)), std::vector<float>(static_cast<size_t>(cols))};
  for (int64_t j = 0; j < cols; ++j)
    for (size_t s = 0; s < rows.slots.size(); ++s) {
      if (rows.slots[s] != slot) continue;
      float products = 0.0f, plain = 0.0f;
      for (int64_t begin = rows.starts[s]; begin < rows.starts[s + 1]; begin += 64) {
        float block_products = 0.0f, block_plain = 0.0f;
        for (int64_t t = begin; t < std::min<int64_t>(begin + 64, rows.starts[s + 1]); ++t) {
          const auto g = static_cast<float>(element(grad, t * cols + j));
          block_products = chain_step(g, static_cast<float>(element(h, t * cols + j)), block_products);
          block_plain += g;
        }
        products += block_products;
        plain += block_plain;
      }
      total.products[static_cast<size_t>(j)] += products;
      total.plain[static_cast<size_t>(j)] += plain;
    }
  return total;
}

bool equals(const Tensor& result, const std::vector<float>& values) {
  if (!result.defined()) return false;
  const Tensor tensor = fetched(result);
  return tensor.count() == static_cast<int64_t>(values.size()) &&
         std::memcmp(tensor.raw(), values.data(), values.size() * sizeof(float)) == 0;
}

struct Result {
  Tensor y, dh;
  std::vector<std::pair<Tensor, Tensor>> grads;  // of each slot's scale and bias
};
Result run(const Tensor& h, const Tensor& grad, const TestRows& rows, SlotVectors edit) {
  for (auto& [scale, bias] : edit.slots) {  // fresh gradients
    if (scale.defined()) scale = Var::parameter(placed(scale.value()));
    if (bias.defined()) bias = Var::parameter(placed(bias.value()));
  }
  Tape tape(device_arena(), Tape::Mode::training);
  const Var x = leaf(placed(h));
  const Var y = red_edit(tape, x, edit, rows.view());
  if (y.slot() != x.slot()) tape.backward(y, placed(grad));
  Result result{y.value(), x.grad(), {}};
  for (const auto& [scale, bias] : edit.slots) result.grads.emplace_back(scale.grad(), bias.grad());
  return result;
}

}  // namespace

TEST_CASE("red_edit: values, dh and the documented order of the gradients' sums") {
  const auto arena = test_arena();
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const Case& c : kCases) {
      const TestRows rows(c.sequences);
      const int64_t t = rows.view().rows, d = c.cols;
      CAPTURE(t);
      CAPTURE(d);
      const Tensor h = random_tensor(arena, {t, d}, dtype, 1), grad = random_tensor(arena, {t, d}, dtype, 2);
      const SlotVectors edit = random_slots(arena, 3, d, c.scale, c.bias);
      Doubles y, dh, naive_y, naive_dh;
      for (size_t s = 0; s < rows.slots.size(); ++s)
        for (int64_t i = rows.starts[s] * d; i < rows.starts[s + 1] * d; ++i) {
          const auto& v = edit.slots[static_cast<size_t>(rows.slots[s])];
          const double scale = v.scale.defined() ? element(v.scale.value(), i % d) : 1.0;
          const double bias = v.bias.defined() ? element(v.bias.value(), i % d) : 0.0;
          y.push_back(scale * element(h, i) + bias);
          dh.push_back(scale * element(grad, i));
          const float product = static_cast<float>(scale) * static_cast<float>(element(h, i));
          naive_y.push_back(product + static_cast<float>(bias));
          naive_dh.push_back(static_cast<float>(scale) * static_cast<float>(element(grad, i)));
        }
      naive_y = to_doubles(from_doubles(arena, {t, d}, dtype, naive_y));
      naive_dh = to_doubles(from_doubles(arena, {t, d}, dtype, naive_dh));
      on_every_device([&] {
        const Result result = run(h, grad, rows, edit);
        check_precision(result.y, y, naive_y);
        if (t == 0) return;
        check_precision(result.dh, dh, naive_dh);
        for (int32_t slot = 1; slot < 3; ++slot) {
          const Sums sums = ordered_sums(h, grad, rows, slot);
          const auto& [dscale, dbias] = result.grads[static_cast<size_t>(slot)];
          if (dscale.defined()) CHECK(equals(dscale, sums.products));
          if (dbias.defined()) CHECK(equals(dbias, sums.plain));
          const bool used = std::find(rows.slots.begin(), rows.slots.end(), slot) != rows.slots.end();
          CHECK(dscale.defined() == (used && c.scale));
          CHECK(dbias.defined() == (used && c.bias));
        }
      });
    }
}

TEST_CASE("red_edit: gradients against central differences in double") {
  const auto arena = test_arena();
  const int64_t t = 6, d = 5;
  const TestRows rows({{4, 1}, {2, 1}});
  const Tensor h = random_tensor(arena, {t, d}, DType::f32, 3), grad = random_tensor(arena, {t, d}, DType::f32, 4);
  const SlotVectors edit = random_slots(arena, 2, d, true, true);
  const Doubles scale = to_doubles(edit.slots[1].scale.value()), bias = to_doubles(edit.slots[1].bias.value());
  const Doubles hs = to_doubles(h), gs = to_doubles(grad);
  const auto loss = [&](const Doubles& h, const Doubles& scale, const Doubles& bias) {
    double sum = 0.0;
    for (size_t i = 0; i < h.size(); ++i) sum += gs[i] * (scale[i % 5] * h[i] + bias[i % 5]);
    return sum;
  };
  on_every_device([&] {
    const Result result = run(h, grad, rows, edit);
    check_close(to_doubles(result.dh), numeric_gradient([&](const Doubles& x) { return loss(x, scale, bias); }, hs),
                1e-6, 1e-7);
    check_close(to_doubles(result.grads[1].first),
                numeric_gradient([&](const Doubles& x) { return loss(hs, x, bias); }, scale), 1e-6, 1e-6);
    check_close(to_doubles(result.grads[1].second),
                numeric_gradient([&](const Doubles& x) { return loss(hs, scale, x); }, bias), 1e-6, 1e-6);
  });
}

TEST_CASE("red_edit: an adapter's gradient has the same bits alone, among others and over micro-batches") {
  const auto arena = test_arena();
  const int64_t d = 70;
  const TestRows together({{100, 2}, {70, 1}, {3, 0}, {5, 3}, {129, 1}, {1, 1}});
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor h = random_tensor(arena, {308, d}, dtype, 5), grad = random_tensor(arena, {308, d}, dtype, 6);
    on_every_device([&] {
      const SlotVectors edit = random_slots(arena, 4, d, true, true);
      const Result all = run(h, grad, together, edit);
      SlotVectors alone{
          {{},
           {Var::parameter(placed(edit.slots[1].scale.value())), Var::parameter(placed(edit.slots[1].bias.value()))}}};
      for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{100, 170}, {178, 307}, {307, 308}}) {
        Tape tape(device_arena(), Tape::Mode::training);
        const TestRows rows({{static_cast<int32_t>(end - begin), 1}});
        const Var y = red_edit(tape, placed(copy_rows(arena, h, begin, end)), alone, rows.view());
        CHECK(same_bits(y.value(), copy_rows(arena, all.y, begin, end)));
        tape.backward(y, placed(copy_rows(arena, grad, begin, end)));
      }
      CHECK(same_bits(alone.slots[1].scale.grad(), all.grads[1].first));
      CHECK(same_bits(alone.slots[1].bias.grad(), all.grads[1].second));
    });
  }
}

TEST_CASE("red_edit: thousands of slots, one row each") {
  const auto arena = test_arena();
  const int32_t slots = 3000;
  const int64_t d = 24;
  std::vector<std::pair<int32_t, int32_t>> sequences;
  for (int32_t s = 1; s < slots; ++s) sequences.emplace_back(1, s);
  const TestRows rows(sequences);
  const Tensor h = random_tensor(arena, {slots - 1, d}, DType::f32, 7);
  const Tensor grad = random_tensor(arena, {slots - 1, d}, DType::f32, 8);
  const SlotVectors edit = random_slots(arena, slots, d, true, true);
  const auto check = [&] {
    const Result result = run(h, grad, rows, edit);
    for (int64_t s = 1; s < slots; ++s) {
      const auto& [dscale, dbias] = result.grads[static_cast<size_t>(s)];
      CHECK(same_bits(dbias, copy_rows(arena, grad, s - 1, s).reshaped({d})));
      CHECK(to_doubles(dscale).back() ==
            static_cast<float>(element(grad, s * d - 1)) * static_cast<float>(element(h, s * d - 1)));
    }
  };
  {
    const PoolSize size(2);
    check();
  }
  if (!test_stream()) return;
  present_device() = test_stream();
  check();
  present_device() = nullptr;
}

TEST_CASE("red_edit: on a device, the same bits in every order of threads and blocks") {
  const auto arena = test_arena();
  const TestRows rows({{100, 2}, {70, 1}, {3, 0}, {0, 3}, {5, 3}, {129, 1}, {1, 1}});
  for (const int64_t d : {19, 40})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Tensor h = random_tensor(arena, {308, d}, dtype, 5), grad = random_tensor(arena, {308, d}, dtype, 6);
      const SlotVectors edit = random_slots(arena, 10, d, true, true);  // more slots than arguments hold
      on_every_order([&] {
        const Result result = run(h, grad, rows, edit);
        std::vector<Tensor> all{result.y, result.dh};
        for (const auto& [dscale, dbias] : result.grads) all.insert(all.end(), {dscale, dbias});
        return all;
      });
    }
}

TEST_CASE("red_edit: on a device, rows of slot 0 keep their bits, even of a NaN") {
  const auto arena = test_arena();
  for (const int64_t d : {19, 24}) {
    Tensor h = random_tensor(arena, {6, d}, DType::bf16, 12);
    h.data<bf16>()[2] = {0x7f81};  // a signalling NaN
    h.data<bf16>()[3] = {0x8000};
    const SlotVectors edit = random_slots(arena, 2, d, true, true);
    const TestRows rows({{4, 0}, {2, 1}});
    on_every_order([&] {
      const Result result = run(h, h, rows, edit);
      CHECK(same_bits(copy_rows(arena, result.y, 0, 4), copy_rows(arena, h, 0, 4)));
      CHECK(same_bits(copy_rows(arena, result.dh, 0, 4), copy_rows(arena, h, 0, 4)));
      return std::vector<Tensor>{result.y, result.dh};
    });
  }
}

TEST_CASE("red_edit: one long sequence is split over threads") {
  const auto arena = test_arena();
  const TestRows rows({{512, 1}});
  const Tensor h = random_tensor(arena, {512, 512}, DType::f32, 9);
  const SlotVectors edit = random_slots(arena, 2, 512, true, true);
  Tape tape(arena, Tape::Mode::training);
  const PoolSize size(2);
  const int64_t before = ThreadPool::instance().split_regions();
  red_edit_accumulate(tape, edit, rows.view(), h, h);
  CHECK(ThreadPool::instance().split_regions() > before);
}

TEST_CASE("red_edit: rows of slot 0 keep their bits, and without any edit nothing is computed or recorded") {
  const auto arena = test_arena();
  Tensor h = random_tensor(arena, {4, 20}, DType::bf16, 10);
  h.data<bf16>()[0] = {0x7f81};  // a signalling NaN
  h.data<bf16>()[1] = {0x8000};
  const SlotVectors edit = random_slots(arena, 2, 20, true, true);
  Tape tape(arena, Tape::Mode::training);
  const TestRows mixed({{2, 0}, {2, 1}});
  const Var y = red_edit(tape, h, edit, mixed.view());
  CHECK(to_doubles(copy_rows(arena, y.value(), 0, 2))[5] == element(h, 5));
  CHECK(y.value().data<bf16>()[1].bits == 0x8000);
  CHECK(tape.recorded() == 1);
  const TestRows none({{4, 0}});
  CHECK(same_bits(red_edit(tape, h, edit, none.view()).value(), h));
  CHECK(tape.recorded() == 1);
  Tape inference(arena, Tape::Mode::inference);
  CHECK(!red_edit(inference, leaf(h), edit, mixed.view()).requires_grad());
  CHECK(inference.recorded() == 0);
}

TEST_CASE("red_edit: wrong arguments") {
  const auto arena = test_arena();
  Tape tape(arena, Tape::Mode::training);
  const Tensor h = random_tensor(arena, {4, 20}, DType::f32, 11);
  const SlotVectors edit = random_slots(arena, 2, 20, true, true);
  const auto code = [&](const Tensor& h, const SlotVectors& edit, const TestRows& rows) {
    return error_code([&] { red_edit(tape, h, edit, rows.view()); });
  };
  const TestRows rows({{4, 1}});
  CHECK(code(h, edit, rows) == "");
  CHECK(code(h, edit, TestRows({{3, 1}})) == "ERR_SHAPE");
  CHECK(code(h, edit, TestRows({{4, 2}})) == "ERR_ARGUMENT");
  CHECK(code(h, edit, TestRows({{4, -1}})) == "ERR_ARGUMENT");
  CHECK(code(h, edit, TestRows({{5, 1}, {-1, 1}})) == "ERR_ARGUMENT");
  CHECK(code(h, random_slots(arena, 2, 21, true, false), rows) == "ERR_SHAPE");
  CHECK(code(random_tensor(arena, {4, 20}, DType::f16, 1), edit, rows) == "ERR_DTYPE");
  SlotVectors wrong = edit;
  wrong.slots[1].bias = random_tensor(arena, {20}, DType::bf16, 1);
  CHECK(code(h, wrong, rows) == "ERR_DTYPE");
  wrong = edit;
  wrong.slots[0] = edit.slots[1];
  CHECK(code(h, wrong, rows) == "ERR_ARGUMENT");
  Tape other(arena, Tape::Mode::training);
  const Var foreign = red_edit(other, leaf(h), edit, rows.view());
  CHECK(error_code([&] { red_edit(tape, foreign, edit, rows.view()); }) == "ERR_FOREIGN");
  const std::atomic<bool> cancelled{true};
  tape.set_cancel_flag(&cancelled);
  CHECK(code(h, edit, rows) == "ERR_ABORTED");
}
