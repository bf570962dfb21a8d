// Exercises F32x16 over arrays; used only by vec_test.cc.

template <typename From, typename To>
void convert_lanes(const VecTestArgs& args) {
  const From* in = static_cast<const From*>(args.in);
  To* out = static_cast<To*>(args.out);
  for_lanes(args.count, [&](int64_t i, auto mask) { store_masked(out + i, mask, load_masked(in + i, mask)); });
}

template <typename Body>
inline void map_lanes(const VecTestArgs& args, Body&& body) {
  const float* in = static_cast<const float*>(args.in);
  float* out = static_cast<float*>(args.out);
  for_lanes(args.count, [&](int64_t i, auto mask) { store_masked(out + i, mask, body(load_masked(in + i, mask))); });
}

inline void vec_test(const VecTestArgs& args) {
  switch (args.what) {
    case VecTest::f32_to_bf16:
      return convert_lanes<float, bf16>(args);
    case VecTest::bf16_to_f32:
      return convert_lanes<bf16, float>(args);
    case VecTest::f32_to_f16:
      return convert_lanes<float, f16>(args);
    case VecTest::f16_to_f32:
      return convert_lanes<f16, float>(args);
    case VecTest::round_to_bf16:
      return map_lanes(args, [](F32x16 x) { return round_to<bf16>(x); });
    case VecTest::store_rounded: {
      const float* in = static_cast<const float*>(args.in);
      bf16* out = static_cast<bf16*>(args.out);
      for_lanes(args.count, [&](int64_t i, auto mask) {
        const F32x16 left = store_rounded(out + i, mask, load_masked(in + i, mask));
        store_masked(out + args.count + i, mask, left);
      });
      return;
    }
    case VecTest::exp:
      return map_lanes(args, [](F32x16 x) { return exp(x); });
    case VecTest::sigmoid:
      return map_lanes(args, [](F32x16 x) { return sigmoid(x); });
    case VecTest::reduce_add:
      *static_cast<float*>(args.out) = reduce_add(load(static_cast<const float*>(args.in)));
      return;
    case VecTest::reduce_max:
      *static_cast<float*>(args.out) = reduce_max(load(static_cast<const float*>(args.in)));
      return;
    case VecTest::select: {
      const float* in = static_cast<const float*>(args.in);
      store(static_cast<float*>(args.out), select(first_lanes(args.count), load(in), load(in + 16)));
      return;
    }
    case VecTest::lane:
      for (int i = 0; i < 16; ++i) static_cast<float*>(args.out)[i] = lane(load(static_cast<const float*>(args.in)), i);
      return;
  }
}
