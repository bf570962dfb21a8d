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
  // Forgets what is owed: a first request does not wait, so kCredit is owed to begin with.
  void begin() { owed_ = kCredit; }

  // Training computed for so many nanoseconds while requests wanted the model.
  void trained(int64_t ns);
  // The same while requests wanted nothing. It pays what is owed to training, and gives requests their credit back, but
  // they save up no more. So requests that follow each other closely do not get the credit again each time.
  void trained_alone(int64_t ns);
  // A turn of the requests took so long while training waited for the model.
  void served(int64_t ns);
  // The same while training had nothing to do, as between two steps. It pays what is owed to requests beyond their
  // credit, and training saves up nothing.
  void served_alone(int64_t ns);
  // Whether requests are owed a turn.
  bool owes() const { return owed_ > 0; }

  static constexpr int64_t kCredit = 50'000'000;   // nanoseconds
  static constexpr int64_t kMost = 1'000'000'000;  // owed to either side: neither saves up more

 private:
  int64_t owed_after(int64_t trained_ns) const;

  double per_training_ = 0.0;  // what a nanosecond of training owes to requests
  int64_t owed_ = kCredit;     // to requests; negative: to training
};

}  // namespace rubricate
