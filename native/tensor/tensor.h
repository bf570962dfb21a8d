// A dense, row-major array whose memory is shared by reference count. The memory is the arena's: on the CPU or on a
// device.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/error.h"
#include "device/arena.h"

namespace rubricate {

using Shape = std::vector<int64_t>;
int64_t element_count(const Shape& shape);
std::string shape_text(const Shape& shape);  // "[2, 3]"

// A block of memory: from an arena, to which it returns, or borrowed from an owner that it keeps alive (a mapped file,
// or a larger block of which it is a part).
class Storage {
 public:
  Storage(std::shared_ptr<Arena> arena, int64_t bytes)
      : arena_(std::move(arena)), data_(arena_->allocate(bytes)), bytes_(bytes) {}
  Storage(std::shared_ptr<void> owner, void* data, int64_t bytes)
      : owner_(std::move(owner)), data_(data), bytes_(bytes) {}
  Storage(const std::shared_ptr<Storage>& whole, int64_t offset, int64_t bytes)
      : arena_(whole->arena_), owner_(whole), data_(static_cast<char*>(whole->data_) + offset), bytes_(bytes) {}
  ~Storage() {
    if (arena_ && !owner_) arena_->release(data_, bytes_);
  }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  Stream* stream() const { return arena_ ? arena_->stream() : nullptr; }
  std::shared_ptr<Stream> shared_stream() const { return arena_ ? arena_->shared_stream() : nullptr; }

 private:
  std::shared_ptr<Arena> arena_;  // the memory's arena; null: borrowed from outside
  std::shared_ptr<void> owner_;
  void* data_;
  int64_t bytes_;
};

class Tensor {
 public:
  Tensor() = default;  // undefined: defined() is false
  static Tensor empty(const std::shared_ptr<Arena>& arena, Shape shape, DType dtype);
  static Tensor zeros(const std::shared_ptr<Arena>& arena, Shape shape, DType dtype);
  // A copy of `data`, which is CPU memory, on the arena's device.
  static Tensor from_host(const std::shared_ptr<Arena>& arena, Shape shape, DType dtype, const void* data);
  static Tensor borrow(std::shared_ptr<void> owner, void* data, Shape shape, DType dtype);

  bool defined() const { return storage_ != nullptr; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t dim(size_t axis) const { return shape_.at(axis); }
  int64_t rank() const { return static_cast<int64_t>(shape_.size()); }
  int64_t count() const { return count_; }
  int64_t bytes() const { return count_ * dtype_size(dtype_); }
  // Rows and columns when all axes except the last are flattened.
  int64_t cols() const { return shape_.empty() ? 1 : shape_.back(); }
  int64_t rows() const { return cols() == 0 ? 0 : count_ / cols(); }

  // The stream that computes on it; null for CPU memory. Only kernels and copies can access device memory: raw() and
  // data() are then device addresses.
  Stream* stream() const { return storage_ ? storage_->stream() : nullptr; }
  std::shared_ptr<Stream> shared_stream() const { return storage_ ? storage_->shared_stream() : nullptr; }

  void* raw() const { return storage_ ? storage_->data() : nullptr; }
  template <typename T>
  T* data() const {
    if (dtype_of<T>::value != dtype_) [[unlikely]]
      fail("ERR_DTYPE", "Expected a tensor of ", dtype_name(dtype_of<T>::value), " but received one of ",
           dtype_name(dtype_));
    return static_cast<T*>(raw());
  }
  Tensor reshaped(Shape shape) const;  // the same memory; throws ERR_SHAPE if the counts differ
  // The contiguous elements from `begin` on, as many as that shape has: the same memory.
  Tensor part(int64_t begin, Shape shape) const;
  // A copy in that arena's memory, on any device.
  Tensor copied_to(const std::shared_ptr<Arena>& arena) const;
  // The tensor itself if it is in CPU memory, else a download, which waits for the device.
  Tensor on_cpu() const;
  bool sole_owner() const { return storage_.use_count() == 1; }

 private:
  std::shared_ptr<Storage> storage_;
  Shape shape_;
  int64_t count_ = 0;
  DType dtype_ = DType::f32;
};

// Copies elements to a tensor of the same count and dtype (else ERR_INTERNAL), from any device to any. From a device to
// the CPU it waits for the stream's earlier work.
void copy_elements(const Tensor& to, const Tensor& from);
void set_zero(const Tensor& tensor);

}  // namespace rubricate
