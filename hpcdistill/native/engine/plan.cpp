#include "plan.hpp"

#include <algorithm>

namespace hpcdistill {
namespace {

struct Builder {
  Plan plan;
  double w_variance, b_variance;
  double pending;  // product of the scales not applied yet
  bool has_tangent = false;
  std::size_t norms = 0;

  Builder(int height, int width, int channels, bool tangent, double w, double b)
      : plan{height, width, channels, tangent, {}, {}, {}, 0}, w_variance(w), b_variance(b), pending(1.0 / channels) {
    open_level(height, width);
  }

  Level& level() { return plan.levels.back(); }

  void open_level(int height, int width) {
    plan.levels.push_back({height, width, 0, 0, int(plan.units.size()), 0, has_tangent, Emit::result});
  }

  void add_unit(bool box, double scale, double bias) {
    const bool tangent_in = has_tangent;
    has_tangent = plan.tangent && (has_tangent || box);
    plan.units.push_back({box, false, tangent_in, has_tangent, scale * pending, bias, 0});
    pending = 1;
    ++level().n_units;
  }

  void add_relu() {
    const bool fits = level().n_units > 0 && !plan.units.back().relu;
    if (!fits) add_unit(false, 1, 0);
    plan.units.back().relu = true;
    plan.units.back().map = norms;
    norms += std::size_t(level().height) * level().width;
  }

  // So that every level has a unit: one that changes nothing. The scale keeps waiting: applied before a sum it would
  // add rounding.
  void add_idle_unit() {
    plan.units.push_back({false, false, has_tangent, has_tangent, 1, 0, 0});
    ++level().n_units;
  }

  void end_level(Emit emit, double scale, int height, int width) {
    if (level().n_units == 0) add_idle_unit();
    level().emit = emit;
    pending *= scale;
    open_level(height, width);
  }

  void add(Layer layer) {
    const int height = level().height, width = level().width;
    const double pixels = double(height) * width;
    switch (layer) {
      case Layer::conv:
        return add_unit(true, w_variance / 9, b_variance);
      case Layer::dense:
        return add_unit(true, w_variance, b_variance);
      case Layer::relu:
        return add_relu();
      case Layer::pool:
        return end_level(Emit::pool, 1.0 / 16, height / 2, width / 2);
      case Layer::flatten:
        return end_level(Emit::sum, 1.0 / pixels, 1, 1);
      case Layer::gap:
        return end_level(Emit::sum, 1.0 / (pixels * pixels), 1, 1);
    }
  }
};

// Radii from the last level back to the first: flatten reads the diagonal, gap everything, a pooled offset D the fine
// offsets 2D − 1 … 2D + 1.
void set_radii(Plan& plan, bool all_offsets_summed) {
  for (int i = int(plan.levels.size()) - 2; i >= 0; --i) {
    Level& level = plan.levels[i];
    const Level& next = plan.levels[i + 1];
    if (level.emit == Emit::sum) {
      level.radius_y = all_offsets_summed ? level.height - 1 : 0;
      level.radius_x = all_offsets_summed ? level.width - 1 : 0;
    } else {
      level.radius_y = std::min(2 * next.radius_y + 1, level.height - 1);
      level.radius_x = std::min(2 * next.radius_x + 1, level.width - 1);
    }
  }
}

void set_stores(Plan& plan) {
  plan.stores.assign(plan.levels.size(), {});
  for (std::size_t i = 1; i < plan.levels.size(); ++i) {
    const Level& level = plan.levels[i];
    PlaneStore& store = plan.stores[i];
    for (int dy = -level.radius_y; dy <= level.radius_y; ++dy)
      for (int dx = -level.radius_x; dx <= level.radius_x; ++dx) {
        store.start.push_back(store.size);
        store.size += std::size_t(level.height - std::abs(dy)) * (level.width - std::abs(dx) + 1);
      }
  }
}

// Cut off what follows the last ReLU: no variance is read there.
void keep_until_last_relu(Plan& plan) {
  while (!plan.units.empty() && !plan.units.back().relu) plan.units.pop_back();
  const int n_units = int(plan.units.size());
  while (!plan.levels.empty() && plan.levels.back().first_unit >= n_units) plan.levels.pop_back();
  if (plan.levels.empty()) return;
  Level& last = plan.levels.back();
  last.n_units = n_units - last.first_unit;
  last.emit = Emit::nothing;
}

Plan build(const std::vector<Layer>& layers, int height, int width, int channels, bool tangent, double w, double b,
           bool variance) {
  Builder builder(height, width, channels, tangent, w, b);
  for (Layer layer : layers) builder.add(layer);
  Plan plan = std::move(builder.plan);
  plan.norms = builder.norms;
  if (variance) keep_until_last_relu(plan);
  set_radii(plan, std::find(layers.begin(), layers.end(), Layer::gap) != layers.end());
  set_stores(plan);
  return plan;
}

}  // namespace

Plans make_plans(const std::vector<Layer>& layers, int height, int width, int channels, bool tangent, double w_variance,
                 double b_variance) {
  return {build(layers, height, width, channels, tangent, w_variance, b_variance, false),
          build(layers, height, width, channels, false, w_variance, b_variance, true)};
}

}  // namespace hpcdistill
