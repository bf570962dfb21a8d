// The kernel of add_in_place.h on the CPU, compiled for each instruction set: over [begin, end) of flat arrays of one
// dtype. One read of each input and one write; a sum depends only on its own two elements.

template <typename T>
void add_in_place_typed(void* destination, const void* source, int64_t begin, int64_t end) {
  T* to = static_cast<T*>(destination) + begin;
  const T* from = static_cast<const T*>(source) + begin;
  for_lanes(end - begin, [&](int64_t i, auto mask) {
    store_masked(to + i, mask, add(load_masked(to + i, mask), load_masked(from + i, mask)));
  });
}

inline void add_in_place_kernel(void* destination, const void* source, DType dtype, int64_t begin, int64_t end) {
  dtype == DType::bf16 ? add_in_place_typed<bf16>(destination, source, begin, end)
                       : add_in_place_typed<float>(destination, source, begin, end);
}
