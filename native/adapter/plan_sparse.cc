#include "adapter/plan_sparse.h"

#include <limits>

#include "adapter/plan_steps.h"
#include "base/error.h"

namespace rubricate {

std::vector<PlanSparse> parse_sparse(const JsonAt& plan, const std::vector<int32_t>& indices) {
  std::vector<PlanSparse> all;
  std::vector<int64_t> counts;
  const auto given = static_cast<int64_t>(indices.size());
  int64_t total = 0;
  if (plan.has("indices")) {
    const JsonAt list = plan["indices"];
    for (int64_t i = 0; i < list.size(); ++i) {
      list.at(i).expect_only({"name", "shape", "count"});
      counts.push_back(list.at(i)["count"].integer(1, std::numeric_limits<int32_t>::max()));
      total += counts.back();
    }
  }
  require(total == given, "ERR_ARGUMENT", "Expected ", total, " numbers for the plan's indices but received ", given);
  int64_t begin = 0;
  for (const int64_t count : counts) {
    const JsonAt at = plan["indices"].at(static_cast<int64_t>(all.size()));
    const std::string name = at["name"].string();
    const Shape shape = parse_shape(at["shape"]);
    if (shape.size() != 2) at["shape"].reject("two sizes");
    all.push_back(
        {name, std::make_shared<SparseIndex>(shape[0], shape[1], indices.data() + begin, count, name.c_str())});
    begin += count;
  }
  return all;
}

}  // namespace rubricate
