// How a model's time is divided between training and requests while both want it: an account of the time that requests
// are owed.
#pragma once

#include <cstdint>

namespace rubricate {

class Share {
 public:
  // training: the share of the time that training gets, above 0 and below 1. Throws ERR_ARGUMENT.
  explicit Share(double training = 0.2) { set(training); }
  void set(double training);

  // Training computed for so long while requests wanted the model.
  void trained(int64_t ns);
  // A turn of the requests took so long.
  void served(int64_t ns);
  // Whether requests are owed a turn. A first request does not wait: kCredit is owed to begin with.
  bool owes() const { return owed_ > 0; }
  // One side has nothing to do: nothing is owed but the credit.
  void clear() { owed_ = kCredit; }

  static constexpr int64_t kCredit = 50'000'000;   // nanoseconds
  static constexpr int64_t kMost = 1'000'000'000;  // owed to either side: neither saves up more

 private:
  double per_training_ = 0.0;  // what a nanosecond of training owes to requests
  int64_t owed_ = kCredit;     // to requests; negative: to training
};

}  // namespace rubricate
