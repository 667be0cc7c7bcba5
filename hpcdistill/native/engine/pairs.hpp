// The recursion for as many pairs of images as there are lanes, and its adjoint.
//
// A plane (level, dy, dx) is evaluated row by row, all its units in flight at once: while row t enters, unit u works on
// row t − u, so that what is between two units stays in the nearest cache. Only the pooled planes that enter the next
// level are kept whole. The adjoint recomputes a level's planes from what entered it, in the same sweep: unit u of U
// gives row y back at time y + 2U − u. It overwrites the planes that entered with their gradients.
//
// What happens to a row of a plane, in this order:
//
// - enter: it comes into the level: products of pixels in the first level, what the pooling before left in the others.
// - leave: it comes out of the level's last unit: to the pooling, the sum or the result.
// - turn: in the adjoint, instead of leaving: the last unit forward and at once back, from the gradient of what left.
// - hand_back: the gradient has come back to where the row entered: on to the pixels, or in place of what entered.
#pragma once

#include <cstring>
#include <type_traits>

#include "dispatch.hpp"
#include "memory.hpp"
#include "pooling.hpp"

namespace hpcdistill::HPCD_TARGET {

constexpr int kMaxLevels = 16;
constexpr int kMaxUnits = 64;  // of one level

template <class T>
class Pairs {
 public:
  static constexpr int lanes = kLanes<T>;

  Pairs(const Plan& plan, void* memory)
      : levels_(plan.levels.data()),
        units_(plan.units.data()),
        n_levels_(int(plan.levels.size())),
        channels_(plan.channels),
        tangent_(plan.tangent) {
    Arena<T> arena(memory);
    take_rows(arena, plan);  // first, so that plans which take turns in one memory share the row of zeros
    for (int i = 0; i < n_levels_; ++i) {
      starts_[i] = plan.stores[i].start.data();
      store_size_[i] = plan.stores[i].size;
      s_store_[i] = i ? arena.take(store_size_[i]) : nullptr;
      t_store_[i] = i && levels_[i].tangent_in ? arena.take(store_size_[i]) : nullptr;
      s_own_[i] = s_store_[i], t_own_[i] = t_store_[i];
    }
    const std::size_t n_pixels = std::size_t(plan.height) * plan.width * plan.channels;
    for (LaneImages<T>* image : {&first_, &second_})
      *image = {arena.take(n_pixels), arena.take(plan.norms), arena.take(plan.norms)};
    pixel_gradient = arena.take(n_pixels);
    norm_gradient = arena.take(plan.norms);
    bytes_ = arena.used();
  }

  // Memory that a plan needs.
  std::size_t bytes() const { return bytes_; }

  // What `forward` leaves for `adjoint`: planes that enter the levels, s and t of each, one after another.
  std::size_t kept_bytes() const {
    std::size_t n = 0;
    for (int i = 1; i < n_levels_; ++i) n += store_size_[i] * (levels_[i].tangent_in ? 2 : 1);
    return n * sizeof(Vec<T>);
  }

  // Have `forward` and `adjoint` work in memory of `kept_bytes`, aligned to a vector; null: in their own.
  void keep_in(void* memory) {
    if (!memory) {
      std::memcpy(s_store_, s_own_, sizeof s_store_), std::memcpy(t_store_, t_own_, sizeof t_store_);
      return;
    }
    Arena<T> arena(memory);
    for (int i = 1; i < n_levels_; ++i) {
      s_store_[i] = arena.take(store_size_[i]);
      if (levels_[i].tangent_in) t_store_[i] = arena.take(store_size_[i]);
    }
  }

  LaneImages<T>& first() { return first_; }
  LaneImages<T>& second() { return second_; }
  Vec<T>* pixel_gradient;  // of the first image, to which `adjoint` adds
  Vec<T>* norm_gradient;   // n ∂/∂n at every ReLU of the first image, likewise

  // Kernel of each lane's pair.
  template <class First>
  Vec<T> forward(const FirstImage<T, First>& first) {
    clear_stores();
    for (int level = 0; level < n_levels_; ++level)
      for_each_plane(level, [&](int dy, int dx) { run_plane<First, Sweep::forward>(first, level, dy, dx); });
    return tangent_ ? t_last_[0] : s_last_[0];
  }

  // Add the gradients of Σ cotangent · kernel with respect to the first image. Follows `forward` of the same pairs.
  template <class First>
  void adjoint(const FirstImage<T, First>& first, Vec<T> cotangent) {
    cotangent_ = cotangent;
    for (int level = n_levels_ - 1; level >= 0; --level)
      for_each_plane(level, [&](int dy, int dx) { run_plane<First, Sweep::adjoint>(first, level, dy, dx); });
  }

  // Norms at every ReLU of the images in the lanes, from their pixels, into second(). The plan is one of variances.
  void norms() {
    clear_stores();
    const auto first = itself();
    for (int level = 0; level < n_levels_; ++level) {
      run_plane<PerLane<T>, Sweep::variance>(first, level, 0, 0);
      for_each_shifted_plane(level,
                             [&](int dy, int dx) { run_plane<PerLane<T>, Sweep::forward>(first, level, dy, dx); });
    }
  }

  // Add to pixel_gradient half the gradient that norm_gradient stands for, both of the images in the lanes; the latter
  // must hold half of n ∂/∂n. Halves, because each image meets itself twice and planes d and −d mirror each other.
  // Follows `norms` of the same images.
  void norms_adjoint() {
    const auto first = itself();
    for (int level = n_levels_ - 1; level >= 0; --level) {
      for_each_shifted_plane(level,
                             [&](int dy, int dx) { run_plane<PerLane<T>, Sweep::adjoint>(first, level, dy, dx); });
      run_plane<PerLane<T>, Sweep::variance_adjoint>(first, level, 0, 0);
    }
  }

 private:
  FirstImage<T, PerLane<T>> itself() const { return {second_.pixels, second_.norm, second_.inverse}; }

  void clear_stores() {
    for (int i = 1; i < n_levels_; ++i) {
      std::memset(static_cast<void*>(s_store_[i]), 0, store_size_[i] * sizeof(Vec<T>));
      if (t_store_[i]) std::memset(static_cast<void*>(t_store_[i]), 0, store_size_[i] * sizeof(Vec<T>));
    }
  }

  void take_rows(Arena<T>& arena, const Plan& plan) {
    std::size_t stride = 0;
    int most_units = 0;
    for (const Level& level : plan.levels) {
      stride = stride > std::size_t(level.width) + 1 ? stride : std::size_t(level.width) + 1;
      most_units = most_units > level.n_units ? most_units : level.n_units;
    }
    zeros_ = arena.take(stride);
    if (zeros_) std::memset(static_cast<void*>(zeros_), 0, stride * sizeof(Vec<T>));
    s_last_ = arena.take(stride);
    t_last_ = arena.take(stride);
    const auto ring = [&] { return Ring<T>{arena.take(3 * stride), stride}; };
    // Counted from the last unit of a level, so that levels of different depth share them.
    for (int after = 0; after < most_units; ++after) {
      UnitRings<T>& rings = rings_[after];
      rings.s = ring(), rings.t = ring();
      const unsigned size = 2 * after + 1;
      rings.tape = {after ? arena.take(4 * size * stride) : nullptr, stride, size};
      rings.s_gradient = ring(), rings.t_gradient = ring();
    }
  }

  // Offset 0 first, always: variances need it so, and a pair of equal images must add up in the same order as they do.
  template <class Visit>
  void for_each_plane(int level, const Visit& visit) const {
    visit(0, 0);
    for_each_shifted_plane(level, visit);
  }
  template <class Visit>
  void for_each_shifted_plane(int level, const Visit& visit) const {
    const Level& l = levels_[level];
    for (int dy = -l.radius_y; dy <= l.radius_y; ++dy)
      for (int dx = -l.radius_x; dx <= l.radius_x; ++dx)
        if (dy || dx) visit(dy, dx);
  }

  // `variance`: offset 0 of images with themselves, where norms are written; and its adjoint.
  enum class Sweep { forward, adjoint, variance, variance_adjoint };
  static constexpr bool goes_back(Sweep sweep) { return sweep == Sweep::adjoint || sweep == Sweep::variance_adjoint; }

  // The plane that is being worked on.
  struct Current : Plane {
    const Level& level;
    const Unit* units;
    int index;
    std::size_t p, q;          // its first pixel in both images
    Vec<T>*s_store, *t_store;  // its first row among what enters the level
    bool tangent_out;          // T comes out of its last unit

    Current(const Pairs& pairs, int i, int dy_, int dx_)
        : Plane(pairs.levels_[i], dy_, dx_), level(pairs.levels_[i]), units(pairs.units_ + level.first_unit), index(i) {
      p = std::size_t(this->y0) * level.width + this->x0;
      q = std::size_t(this->y0 + this->dy) * level.width + this->x0 + this->dx;
      const std::size_t start = i ? store_row(level, pairs.starts_[i], *this, 0) : 0;
      s_store = pairs.s_store_[i] + start;
      t_store = pairs.t_store_[i] ? pairs.t_store_[i] + start : nullptr;
      tangent_out = units[level.n_units - 1].tangent_out;
    }
    bool has(int y) const { return y >= 0 && y < this->rows; }
    std::size_t row(int y) const { return std::size_t(y) * level.width; }
  };

  template <class First, Sweep S>
  void run_plane(const FirstImage<T, First>& first, int index, int dy, int dx) {
    const Current plane(*this, index, dy, dx);
    const int n = plane.level.n_units, end = plane.rows + (goes_back(S) ? 2 : 1) * n;
    for (int time = 0; time < end; ++time) {
      if (index == 0 && time < plane.rows) enter(first, plane, time);
      for (int u = 0; u < n - 1; ++u)
        if (const int y = time - u - 1; plane.has(y)) unit<First, S>(first, plane, u, y);
      if constexpr (!goes_back(S)) {
        if (const int y = time - n; plane.has(y)) leave<First, S>(first, plane, y);
      } else {
        if (const int y = time - n; plane.has(y)) turn<First, S>(first, plane, y);
        for (int u = n - 2; u >= 0; --u)
          if (const int y = time - 2 * n + u + 1; plane.has(y)) unit_back<S>(plane, u, y);
        if (const int y = time - 2 * n; plane.has(y)) hand_back(plane, y);
      }
    }
  }

  const UnitRings<T>& rings(const Current& plane, int u) const { return rings_[plane.level.n_units - 1 - u]; }

  // First level: covariance of the pixels, not yet divided by the number of channels.
  template <class First>
  void enter(const FirstImage<T, First>& first, const Current& plane, int y) {
    Vec<T>* out = rings(plane, 0).s.row(y);
    const auto* a = first.pixels + (plane.p + plane.row(y)) * channels_;
    const auto* b = second_.pixels + (plane.q + plane.row(y)) * channels_;
    switch (channels_) {
      case 1:
        return product_row<T, First, 1>(plane.columns, 1, a, b, out);
      case 3:
        return product_row<T, First, 3>(plane.columns, 3, a, b, out);
      default:
        return product_row<T, First, 0>(plane.columns, channels_, a, b, out);
    }
  }

  HPCD_INLINE Window<T> around(const Ring<T>& ring, const Current& plane, int y) const {
    return {y > 0 ? ring.row(y - 1) : zeros_, ring.row(y), y + 1 < plane.rows ? ring.row(y + 1) : zeros_};
  }
  HPCD_INLINE Window<T> around(const Vec<T>* store, const Current& plane, int y) const {
    const int stride = plane.columns + 1;
    const Vec<T>* row = store + std::size_t(y) * stride;
    return {y > 0 ? row - stride : zeros_, row, y + 1 < plane.rows ? row + stride : zeros_};
  }

  // What unit u works on for row y.
  template <class First>
  HPCD_INLINE UnitRow<T, First> unit_input(const FirstImage<T, First>& first, const Current& plane, int u,
                                           int y) const {
    const Unit& unit = plane.units[u];
    const std::size_t map = unit.map + plane.row(y);
    const UnitRings<T>& r = rings(plane, u);
    const bool stored = u == 0 && plane.index > 0;
    UnitRow<T, First> row;
    row.columns = plane.columns;
    row.scale = broadcast<T>(T(unit.scale));
    row.bias = broadcast<T>(T(unit.bias));
    row.s = stored ? around(plane.s_store, plane, y) : around(r.s, plane, y);
    if (unit.tangent_in) row.t = stored ? around(plane.t_store, plane, y) : around(r.t, plane, y);
    row.norm1 = first.norm + plane.p + map, row.inverse1 = first.inverse + plane.p + map;
    row.norm2 = second_.norm + plane.q + map, row.inverse2 = second_.inverse + plane.q + map;
    return row;
  }

  static constexpr Pass pass_of(Sweep sweep) {
    return goes_back(sweep) ? Pass::taped : sweep == Sweep::variance ? Pass::diagonal : Pass::plain;
  }

  template <class First, Sweep S>
  void unit(const FirstImage<T, First>& first, const Current& plane, int u, int y) {
    UnitRow<T, First> row = unit_input(first, plane, u, y);
    row.s_out = rings(plane, u + 1).s.row(y), row.t_out = rings(plane, u + 1).t.row(y);
    row.tape = rings(plane, u).tape.row(y);
    with_unit(plane.units[u], RunUnit<T, First, pass_of(S)>{row});
  }

  // Row y through the last unit and out of the level, to where the next one wants it.
  template <class First, Sweep S>
  void leave(const FirstImage<T, First>& first, const Current& plane, int y) {
    const int next = plane.index + 1, last = plane.level.n_units - 1;
    if (plane.level.emit == Emit::pool) {
      const PoolTargets targets(levels_[next], starts_[next], plane, y);
      if (targets.n == 0 && S != Sweep::variance) return;
      const UnitRow<T, First> row = unit_input(first, plane, last, y);
      const PooledRows<T> out = targets.template rows<T>(s_store_[next], t_store_[next]);
      return with_unit(plane.units[last], RunPooled<T, First, pass_of(S)>{row, out, targets.both});
    }
    UnitRow<T, First> row = unit_input(first, plane, last, y);
    row.s_out = s_last_, row.t_out = t_last_;
    with_unit(plane.units[last], RunUnit<T, First, pass_of(S)>{row});
    if (plane.level.emit != Emit::sum) return;
    sum_row<T>(plane.columns, s_last_, s_store_[next]);
    if (plane.tangent_out) sum_row<T>(plane.columns, t_last_, t_store_[next]);
  }

  // Gradients with respect to a row that left and was not pooled, into s_last_ and t_last_.
  void take_back(const Current& plane) {
    const int next = plane.index + 1;
    const bool sum = plane.level.emit == Emit::sum, result = plane.level.emit == Emit::result;
    fill_row<T>(plane.columns, sum ? *s_store_[next] : result && !tangent_ ? cotangent_ : Vec<T>{}, s_last_);
    if (plane.tangent_out) fill_row<T>(plane.columns, sum ? *t_store_[next] : result ? cotangent_ : Vec<T>{}, t_last_);
  }

  // Row y through the last unit, and its gradients back to what that unit's window sums.
  template <class First, Sweep S>
  void turn(const FirstImage<T, First>& first, const Current& plane, int y) {
    const int next = plane.index + 1, n = plane.level.n_units;
    const Unit& unit = plane.units[n - 1];
    AdjointRow<T> back = adjoint_output(plane, n - 1, y);
    if (plane.level.emit == Emit::pool) {
      const PoolTargets targets(levels_[next], starts_[next], plane, y);
      const PooledRows<T> in = targets.template rows<T>(s_store_[next], t_store_[next]);
      const UnitRow<T, First> row = unit_input(first, plane, n - 1, y);
      if (targets.n == 0) {
        fill_row<T>(plane.columns + 1, Vec<T>{}, back.s_out);
        fill_row<T>(plane.columns + 1, Vec<T>{}, back.t_out);
      } else {
        with_unit(unit, RunPooledTurning<T, First>{row, back, in, targets.both});
      }
    } else {
      take_back(plane);
      back.s.middle = s_last_, back.t.middle = t_last_;
      with_unit(unit, RunTurning<T, First>{unit_input(first, plane, n - 1, y), back});
    }
    if (S == Sweep::variance_adjoint && unit.relu) add_variance_gradient(plane, unit, y, back.s_out);
  }

  HPCD_INLINE AdjointRow<T> adjoint_output(const Current& plane, int u, int y) const {
    AdjointRow<T> row;
    row.columns = plane.columns;
    row.log_norm = norm_gradient + plane.units[u].map + plane.p + plane.row(y);
    row.s_out = rings(plane, u).s_gradient.row(y), row.t_out = rings(plane, u).t_gradient.row(y);
    return row;
  }

  // At offset 0 of an image with itself S is the variance, and ∂/∂V = (n ∂/∂n) / 2V.
  void add_variance_gradient(const Current& plane, const Unit& unit, int y, Vec<T>* s_gradient) {
    const std::size_t start = unit.map + plane.p + plane.row(y);
    const Vec<T>*g = norm_gradient + start, *inverse = second_.inverse + start;
    for (int x = 0; x < plane.columns; ++x) s_gradient[x] += g[x] * inverse[x] * inverse[x];
  }

  template <Sweep S>
  void unit_back(const Current& plane, int u, int y) {
    const Unit &unit = plane.units[u], &after = plane.units[u + 1];
    AdjointRow<T> row = adjoint_output(plane, u, y);
    row.scale = broadcast<T>(T(after.scale));
    row.s = around(rings(plane, u + 1).s_gradient, plane, y);
    row.t = around(rings(plane, u + 1).t_gradient, plane, y);
    row.tape = rings(plane, u).tape.row(y);
    if (after.box)
      with_unit(unit, RunAdjoint<T, true>{row});
    else
      with_unit(unit, RunAdjoint<T, false>{row});
    if (S == Sweep::variance_adjoint && unit.relu) add_variance_gradient(plane, unit, y, row.s_out);
  }

  // Gradients with respect to row y of what entered: on to the pixels, or in place of the planes.
  void hand_back(const Current& plane, int y) {
    const bool box = plane.units[0].box;
    const Vec<T> scale = broadcast<T>(T(plane.units[0].scale));
    const UnitRings<T>& r = rings(plane, 0);
    if (plane.index == 0) return hand_to_pixels(plane, y, box, scale, around(r.s_gradient, plane, y));
    const auto hand = box ? scale_row<T, true> : scale_row<T, false>;
    const std::size_t start = std::size_t(y) * (plane.columns + 1);
    hand(plane.columns, scale, around(r.s_gradient, plane, y), plane.s_store + start);
    if (plane.level.tangent_in) hand(plane.columns, scale, around(r.t_gradient, plane, y), plane.t_store + start);
  }

  void hand_to_pixels(const Current& plane, int y, bool box, Vec<T> scale, const Window<T>& gradient) {
    Vec<T>* out = pixel_gradient + (plane.p + plane.row(y)) * channels_;
    const Vec<T>* b = second_.pixels + (plane.q + plane.row(y)) * channels_;
    const auto hand = [&](auto with_box) {
      switch (channels_) {
        case 1:
          return product_adjoint_row<T, with_box(), 1>(plane.columns, 1, scale, gradient, b, out);
        case 3:
          return product_adjoint_row<T, with_box(), 3>(plane.columns, 3, scale, gradient, b, out);
        default:
          return product_adjoint_row<T, with_box(), 0>(plane.columns, channels_, scale, gradient, b, out);
      }
    };
    box ? hand(std::true_type{}) : hand(std::false_type{});
  }

  const Level* levels_;
  const Unit* units_;
  int n_levels_, channels_;
  bool tangent_;
  std::size_t bytes_ = 0;
  const std::size_t* starts_[kMaxLevels];
  std::size_t store_size_[kMaxLevels];
  Vec<T>*s_store_[kMaxLevels], *t_store_[kMaxLevels];  // planes that enter a level, later their gradients
  Vec<T>*s_own_[kMaxLevels], *t_own_[kMaxLevels];      // where these are unless they are kept elsewhere
  LaneImages<T> first_, second_;
  Vec<T>*zeros_, *s_last_, *t_last_;  // a row of zeros; the row that leaves a level, or its gradient
  UnitRings<T> rings_[kMaxUnits];
  Vec<T> cotangent_{};
};

}  // namespace hpcdistill::HPCD_TARGET
