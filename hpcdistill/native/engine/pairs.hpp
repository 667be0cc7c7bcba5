// The recursion for as many pairs of images as there are lanes, and its adjoint.
//
// A plane (level, dy, dx) is evaluated row by row, all its units in flight at once: while row t enters, unit u works on
// row t − u, so that what is between two units stays in the nearest cache. Only the pooled planes that enter the next
// level are kept whole. The adjoint recomputes a level's planes from what entered it, in the same sweep: row y of unit
// u of U comes back at time y + 2U − u. It overwrites the planes that entered with their gradients.
#pragma once

#include <cstdlib>
#include <cstring>

#include "plan.hpp"
#include "rows.hpp"

namespace hpcdistill::HPCD_TARGET {

constexpr int kMaxLevels = 16;
constexpr int kMaxUnits = 64;  // of one level

// Hands out pieces of one allocation, or, without memory, only counts them.
template <class T>
class Arena {
 public:
  explicit Arena(void* memory) : memory_(static_cast<char*>(memory)) {}
  Vec<T>* take(std::size_t n) {
    Vec<T>* piece = memory_ ? reinterpret_cast<Vec<T>*>(memory_ + used_) : nullptr;
    used_ += n * sizeof(Vec<T>);
    return piece;
  }
  std::size_t used() const { return used_; }

 private:
  char* memory_;
  std::size_t used_ = 0;
};

// The last `size` rows of something that is produced row by row.
template <class T>
struct Ring {
  Vec<T>* base = nullptr;
  int size = 1;
  std::size_t stride = 0;
  Vec<T>* row(int y) const { return base + std::size_t(y % size) * stride; }
};

template <class T>
struct UnitRings {
  Ring<T> s, t;                                 // what its window reads
  Ring<T> tape_s, tape_f0, tape_root, tape_slope;
  Ring<T> s_gradient, t_gradient;               // with respect to its window's sum
};

// Images in the lanes: pixels (y, x, channel), norms √V at every ReLU and their inverses.
template <class T>
struct LaneImages {
  Vec<T>*pixels, *norm, *inverse;
};

template <class T, class First>
struct FirstImage {
  const typename First::Element *pixels, *norm, *inverse;
};

struct Plane {
  int dy, dx, rows, columns, y0, x0;  // pixel p = (y0 + y, x0 + x) of the first image meets p + (dy, dx) of the second
};

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
    for (int i = 0; i < n_levels_; ++i) {
      starts_[i] = plan.stores[i].start.data();
      store_size_[i] = plan.stores[i].size;
      s_store_[i] = i ? arena.take(store_size_[i]) : nullptr;
      t_store_[i] = i && levels_[i].tangent_in ? arena.take(store_size_[i]) : nullptr;
    }
    const std::size_t n_pixels = std::size_t(plan.height) * plan.width * plan.channels;
    for (LaneImages<T>* image : {&first_, &second_})
      *image = {arena.take(n_pixels), arena.take(plan.norms), arena.take(plan.norms)};
    pixel_gradient = arena.take(n_pixels);
    norm_gradient = arena.take(plan.norms);
    take_rows(arena, plan);
    bytes_ = arena.used();
  }

  // Memory that a plan needs.
  std::size_t bytes() const { return bytes_; }

  LaneImages<T>& first() { return first_; }
  LaneImages<T>& second() { return second_; }
  Vec<T>* pixel_gradient;  // of the first image, to which `adjoint` adds
  Vec<T>* norm_gradient;   // n ∂/∂n at every ReLU of the first image, likewise

  // Kernel of each lane's pair.
  template <class First>
  Vec<T> forward(const FirstImage<T, First>& first) {
    clear_stores();
    for (int level = 0; level < n_levels_; ++level)
      for_each_plane(level, [&](int dy, int dx) { run_plane<First, false, false>(first, level, dy, dx); });
    return tangent_ ? t_last_[0] : s_last_[0];
  }

  // Add the gradients of Σ cotangent · kernel with respect to the first image. Follows `forward` of the same pairs.
  template <class First>
  void adjoint(const FirstImage<T, First>& first, Vec<T> cotangent) {
    cotangent_ = cotangent;
    for (int level = n_levels_ - 1; level >= 0; --level)
      for_each_plane(level, [&](int dy, int dx) { run_plane<First, true, false>(first, level, dy, dx); });
  }

  // Norms at every ReLU of the images in the lanes, from their pixels, into second(). The plan is one of variances.
  void norms() {
    clear_stores();
    const auto first = itself();
    for (int level = 0; level < n_levels_; ++level) {
      run_plane<PerLane<T>, false, true>(first, level, 0, 0);
      for_each_shifted_plane(level,
                             [&](int dy, int dx) { run_plane<PerLane<T>, false, false>(first, level, dy, dx); });
    }
  }

  // Add to pixel_gradient half the gradient that norm_gradient stands for, both of the images in the lanes; the latter
  // must hold half of n ∂/∂n. Halves, because each image meets itself twice and planes d and −d mirror each other.
  // Follows `norms` of the same images.
  void norms_adjoint() {
    const auto first = itself();
    for (int level = n_levels_ - 1; level >= 0; --level) {
      for_each_shifted_plane(level,
                             [&](int dy, int dx) { run_plane<PerLane<T>, true, false>(first, level, dy, dx); });
      run_plane<PerLane<T>, true, true>(first, level, 0, 0);
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
    const auto ring = [&](int size) { return Ring<T>{arena.take(size * stride), size, stride}; };
    zeros_ = arena.take(stride);
    if (zeros_) std::memset(static_cast<void*>(zeros_), 0, stride * sizeof(Vec<T>));
    s_last_ = arena.take(stride);
    t_last_ = arena.take(stride);
    gradient_in_ = arena.take(stride);
    // Counted from the last unit of a level, so that levels of different depth share them.
    for (int after = most_units - 1; after >= 0; --after) {
      UnitRings<T>& rings = rings_[after];
      rings.s = ring(3), rings.t = ring(3);
      rings.tape_s = ring(2 * after + 1), rings.tape_f0 = ring(2 * after + 1);
      rings.tape_root = ring(2 * after + 1), rings.tape_slope = ring(2 * after + 1);
      rings.s_gradient = ring(3), rings.t_gradient = ring(3);
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

  // Where row y of a plane lies in the store of planes that enter `level`.
  std::size_t store_row(int level, int dy, int dx, int y) const {
    const Level& l = levels_[level];
    const int columns = l.width - std::abs(dx);
    return starts_[level][(dy + l.radius_y) * l.planes_x() + dx + l.radius_x] + std::size_t(y) * (columns + 1);
  }

  template <class First, bool Adjoint, bool Diagonal>
  void run_plane(const FirstImage<T, First>& first, int level, int dy, int dx) {
    const Level& l = levels_[level];
    const Plane plane{dy, dx, l.height - std::abs(dy), l.width - std::abs(dx), dy < 0 ? -dy : 0, dx < 0 ? -dx : 0};
    const int n = l.n_units, last = plane.rows + (Adjoint ? 2 : 1) * n;
    const auto inside = [&](int y) { return y >= 0 && y < plane.rows; };
    for (int time = 0; time < last; ++time) {
      if (level == 0 && inside(time)) enter(first, plane, time);
      for (int u = 0; u < n; ++u)
        if (const int y = time - u - 1; inside(y)) forward_unit<First, Adjoint, Diagonal>(first, level, plane, u, y);
      if (const int y = time - n; inside(y)) Adjoint ? come_back(level, plane, y) : leave(level, plane, y);
      if constexpr (Adjoint) {
        for (int u = n - 1; u >= 0; --u)
          if (const int y = time - 2 * n + u + 1; inside(y)) adjoint_unit<Diagonal>(level, plane, u, y);
        if (const int y = time - 2 * n; inside(y)) spread(level, plane, y);
      }
    }
  }

  UnitRings<T>& rings(const Level& level, int u) { return rings_[level.n_units - 1 - u]; }

  // First level: covariance of the pixels, channels not yet divided by.
  template <class First>
  void enter(const FirstImage<T, First>& first, const Plane& plane, int y) {
    const Level& level = levels_[0];
    Vec<T>* out = level.n_units ? rings(level, 0).s.row(y) : s_last_;
    const auto* a = first.pixels + pixel(level, plane.y0 + y, plane.x0) * channels_;
    const auto* b = second_.pixels + pixel(level, plane.y0 + plane.dy + y, plane.x0 + plane.dx) * channels_;
    switch (channels_) {
      case 1:
        return product_row<T, First, 1>(plane.columns, 1, a, b, out);
      case 3:
        return product_row<T, First, 3>(plane.columns, 3, a, b, out);
      default:
        return product_row<T, First, 0>(plane.columns, channels_, a, b, out);
    }
  }

  static std::size_t pixel(const Level& level, int y, int x) { return std::size_t(y) * level.width + x; }

  // What the window of unit u reads around row y.
  Window<T> window(int level, const Plane& plane, int u, int y, bool tangent) {
    const auto row = [&](int i) -> const Vec<T>* {
      if (i < 0 || i >= plane.rows) return zeros_;
      if (u == 0 && level > 0)
        return (tangent ? t_store_ : s_store_)[level] + store_row(level, plane.dy, plane.dx, i);
      UnitRings<T>& r = rings(levels_[level], u);
      return (tangent ? r.t : r.s).row(i);
    };
    return {row(y - 1), row(y), row(y + 1)};
  }

  template <class First, bool Taped, bool Diagonal>
  void forward_unit(const FirstImage<T, First>& first, int level, const Plane& plane, int u, int y) {
    const Level& l = levels_[level];
    const Unit& unit = units_[l.first_unit + u];
    const bool is_last = u == l.n_units - 1;
    const std::size_t p = unit.map + pixel(l, plane.y0 + y, plane.x0);
    const std::size_t q = unit.map + pixel(l, plane.y0 + plane.dy + y, plane.x0 + plane.dx);
    UnitRings<T>& r = rings(l, u);
    UnitRow<T, First> row;
    row.columns = plane.columns;
    row.scale = broadcast<T>(T(unit.scale));
    row.bias = broadcast<T>(T(unit.bias));
    row.s = window(level, plane, u, y, false);
    if (unit.tangent_in) row.t = window(level, plane, u, y, true);
    row.norm1 = first.norm + p, row.inverse1 = first.inverse + p;
    row.norm2 = second_.norm + q, row.inverse2 = second_.inverse + q;
    row.s_out = is_last ? s_last_ : rings(l, u + 1).s.row(y);
    row.t_out = is_last ? t_last_ : rings(l, u + 1).t.row(y);
    row.tape = {r.tape_s.row(y), r.tape_f0.row(y), r.tape_root.row(y), r.tape_slope.row(y)};
    constexpr Pass pass = Taped ? Pass::taped : Diagonal ? Pass::diagonal : Pass::plain;
    choose_unit_row<First, pass>(unit)(row);
  }

  template <class First, Pass P>
  static auto choose_unit_row(const Unit& unit) -> void (*)(const UnitRow<T, First>&) {
    const Tangent m = tangent_of(unit);
    if (unit.box && unit.relu) return by_tangent<First, true, true, P>(m);
    if (unit.box) return by_tangent<First, true, false, P>(m);
    return m == Tangent::none ? unit_row<T, First, false, true, Tangent::none, P>
                              : unit_row<T, First, false, true, Tangent::carried, P>;
  }
  template <class First, bool Box, bool Relu, Pass P>
  static auto by_tangent(Tangent m) -> void (*)(const UnitRow<T, First>&) {
    if (m == Tangent::none) return unit_row<T, First, Box, Relu, Tangent::none, P>;
    return m == Tangent::born ? unit_row<T, First, Box, Relu, Tangent::born, P>
                              : unit_row<T, First, Box, Relu, Tangent::carried, P>;
  }
  static Tangent tangent_of(const Unit& unit) {
    return !unit.tangent_out ? Tangent::none : unit.tangent_in ? Tangent::carried : Tangent::born;
  }

  // Where a row of a plane meets the pooled planes: at most one row, of two planes at most.
  struct PoolTarget {
    std::size_t start;       // in the next level's store
    int count;               // pooled columns
    int first;               // column that goes to the first of them; the next one is two further on
    bool both;               // whether the column after it goes there too
  };
  int pool_targets(int level, const Plane& plane, int y, PoolTarget (&targets)[2]) const {
    const Level& next = levels_[level + 1];
    const int py = plane.y0 + y, row_p = py >> 1, row_q = (py + plane.dy) >> 1, dy = row_q - row_p;
    if (row_p >= next.height || row_q >= next.height || std::abs(dy) > next.radius_y) return 0;
    const int y_in_plane = row_p - (dy < 0 ? -dy : 0);
    const bool odd = plane.dx & 1;
    int n = 0;
    for (int parity = 0; parity <= (odd ? 1 : 0); ++parity) {
      const int dx = (plane.dx + parity) >> 1, count = next.width - std::abs(dx);
      if (std::abs(dx) > next.radius_x || count <= 0) continue;
      const int first_p = dx < 0 ? -dx : 0;
      targets[n++] = {store_row(level + 1, dy, dx, y_in_plane), count, 2 * first_p + parity - plane.x0, !odd};
    }
    return n;
  }

  // The row that leaves the last unit goes where the level's successor wants it. `entered` rows of levels without
  // units leave as they came.
  void leave(int level, const Plane& plane, int y) {
    const Level& l = levels_[level];
    const bool tangent = l.n_units ? units_[l.first_unit + l.n_units - 1].tangent_out : l.tangent_in;
    const Vec<T>* s = leaving_row(level, plane, y, false);
    if (l.emit == Emit::pool) {
      PoolTarget targets[2];
      const int n = pool_targets(level, plane, y, targets);
      for (int i = 0; i < n; ++i) {
        pool_row(targets[i], s, s_store_[level + 1] + targets[i].start);
        if (tangent) pool_row(targets[i], leaving_row(level, plane, y, true), t_store_[level + 1] + targets[i].start);
      }
    } else if (l.emit == Emit::sum) {
      sum_row(plane.columns, s, s_store_[level + 1]);
      if (tangent) sum_row(plane.columns, leaving_row(level, plane, y, true), t_store_[level + 1]);
    }
  }

  const Vec<T>* leaving_row(int level, const Plane& plane, int y, bool tangent) const {
    if (levels_[level].n_units || level == 0) return tangent ? t_last_ : s_last_;
    return (tangent ? t_store_ : s_store_)[level] + store_row(level, plane.dy, plane.dx, y);
  }

  static void pool_row(const PoolTarget& target, const Vec<T>* in, Vec<T>* out) {
    in += target.first;
    if (target.both)
      for (int x = 0; x < target.count; ++x) out[x] += in[2 * x] + in[2 * x + 1];
    else
      for (int x = 0; x < target.count; ++x) out[x] += in[2 * x];
  }

  static void sum_row(int columns, const Vec<T>* in, Vec<T>* out) {
    Vec<T> sum = *out;
    for (int x = 0; x < columns; ++x) sum += in[x];
    *out = sum;
  }

  // The adjoint of `leave`: gradients with respect to the row that left, into s_last_ and t_last_.
  void come_back(int level, const Plane& plane, int y) {
    const Level& l = levels_[level];
    const bool tangent = l.n_units ? units_[l.first_unit + l.n_units - 1].tangent_out : l.tangent_in;
    if (l.emit == Emit::pool) {
      PoolTarget targets[2];
      const int n = pool_targets(level, plane, y, targets);
      unpool_row(plane.columns, targets, n, s_store_[level + 1], s_last_);
      if (tangent) unpool_row(plane.columns, targets, n, t_store_[level + 1], t_last_);
    } else if (l.emit == Emit::sum) {
      fill_row(plane.columns, *s_store_[level + 1], s_last_);
      if (tangent) fill_row(plane.columns, *t_store_[level + 1], t_last_);
    } else {
      const bool result = l.emit == Emit::result;
      fill_row(plane.columns, result && !tangent_ ? cotangent_ : Vec<T>{}, s_last_);
      fill_row(plane.columns, result && tangent_ ? cotangent_ : Vec<T>{}, t_last_);
    }
  }

  static void unpool_row(int columns, const PoolTarget* targets, int n, const Vec<T>* in, Vec<T>* out) {
    fill_row(columns, Vec<T>{}, out);
    for (int i = 0; i < n; ++i) {
      const PoolTarget& target = targets[i];
      for (int x = 0; x < target.count; ++x) {
        const Vec<T> value = in[target.start + x];
        out[target.first + 2 * x] = value;
        if (target.both) out[target.first + 2 * x + 1] = value;
      }
    }
  }

  static void fill_row(int columns, Vec<T> value, Vec<T>* out) {
    for (int x = 0; x < columns; ++x) out[x] = value;
  }

  // Gradients with respect to the window sums of unit u + 1 around row y, or to the row that left.
  Window<T> gradient_window(const Level& level, const Plane& plane, int u, int y, bool tangent) {
    if (u == level.n_units - 1) {
      const Vec<T>* row = tangent ? t_last_ : s_last_;
      return {row, row, row};
    }
    UnitRings<T>& r = rings(level, u + 1);
    const Ring<T>& ring = tangent ? r.t_gradient : r.s_gradient;
    const auto row = [&](int i) -> const Vec<T>* { return i < 0 || i >= plane.rows ? zeros_ : ring.row(i); };
    return {row(y - 1), row(y), row(y + 1)};
  }

  template <bool Diagonal>
  void adjoint_unit(int level, const Plane& plane, int u, int y) {
    const Level& l = levels_[level];
    const Unit& unit = units_[l.first_unit + u];
    const bool is_last = u == l.n_units - 1;
    const Unit* after = is_last ? nullptr : &units_[l.first_unit + u + 1];
    const std::size_t p = unit.map + pixel(l, plane.y0 + y, plane.x0);
    UnitRings<T>& r = rings(l, u);
    AdjointRow<T> row;
    row.columns = plane.columns;
    row.scale = broadcast<T>(after ? T(after->scale) : T(1));
    row.s = gradient_window(l, plane, u, y, false);
    row.t = gradient_window(l, plane, u, y, true);
    row.tape = {r.tape_s.row(y), r.tape_f0.row(y), r.tape_root.row(y), r.tape_slope.row(y)};
    row.log_norm = norm_gradient + p;
    row.s_out = r.s_gradient.row(y), row.t_out = r.t_gradient.row(y);
    (after && after->box ? choose_adjoint_row<true>(unit) : choose_adjoint_row<false>(unit))(row);
    if (Diagonal && unit.relu) {  // S is the variance itself here, and ∂/∂V = (n ∂/∂n) / 2V
      const Vec<T>* inverse = second_.inverse + p;
      for (int x = 0; x < plane.columns; ++x) row.s_out[x] += norm_gradient[p + x] * inverse[x] * inverse[x];
    }
  }

  template <bool BoxAfter>
  static auto choose_adjoint_row(const Unit& unit) -> void (*)(const AdjointRow<T>&) {
    const Tangent m = tangent_of(unit);
    if (unit.box && unit.relu) return adjoint_by_tangent<BoxAfter, true, true>(m);
    if (unit.box) return adjoint_by_tangent<BoxAfter, true, false>(m);
    return m == Tangent::none ? unit_adjoint_row<T, BoxAfter, false, true, Tangent::none>
                              : unit_adjoint_row<T, BoxAfter, false, true, Tangent::carried>;
  }
  template <bool BoxAfter, bool Box, bool Relu>
  static auto adjoint_by_tangent(Tangent m) -> void (*)(const AdjointRow<T>&) {
    if (m == Tangent::none) return unit_adjoint_row<T, BoxAfter, Box, Relu, Tangent::none>;
    return m == Tangent::born ? unit_adjoint_row<T, BoxAfter, Box, Relu, Tangent::born>
                              : unit_adjoint_row<T, BoxAfter, Box, Relu, Tangent::carried>;
  }

  // Gradients with respect to row y of what entered the level: on to the pixels, or in place of the planes.
  void spread(int level, const Plane& plane, int y) {
    const Level& l = levels_[level];
    const Unit* unit = l.n_units ? &units_[l.first_unit] : nullptr;
    const Vec<T> scale = broadcast<T>(unit ? T(unit->scale) : T(1));
    const auto write = [&](bool tangent, Vec<T>* out) {
      const Window<T> gradient = gradient_window(l, plane, -1, y, tangent);
      (unit && unit->box ? spread_row<T, true> : spread_row<T, false>)(plane.columns, scale, gradient, out);
    };
    if (level > 0) {
      const std::size_t start = store_row(level, plane.dy, plane.dx, y);
      write(false, s_store_[level] + start);
      if (l.tangent_in) write(true, t_store_[level] + start);
      return;
    }
    write(false, gradient_in_);
    Vec<T>* out = pixel_gradient + pixel(l, plane.y0 + y, plane.x0) * channels_;
    const Vec<T>* b = second_.pixels + pixel(l, plane.y0 + plane.dy + y, plane.x0 + plane.dx) * channels_;
    switch (channels_) {
      case 1:
        return product_adjoint_row<T, 1>(plane.columns, 1, gradient_in_, b, out);
      case 3:
        return product_adjoint_row<T, 3>(plane.columns, 3, gradient_in_, b, out);
      default:
        return product_adjoint_row<T, 0>(plane.columns, channels_, gradient_in_, b, out);
    }
  }

  const Level* levels_;
  const Unit* units_;
  int n_levels_, channels_;
  bool tangent_;
  std::size_t bytes_ = 0;
  const std::size_t* starts_[kMaxLevels];
  std::size_t store_size_[kMaxLevels];
  Vec<T>*s_store_[kMaxLevels], *t_store_[kMaxLevels];  // planes that enter a level, later their gradients
  LaneImages<T> first_, second_;
  Vec<T>*zeros_, *s_last_, *t_last_, *gradient_in_;
  UnitRings<T> rings_[kMaxUnits];
  Vec<T> cotangent_{};
};

}  // namespace hpcdistill::HPCD_TARGET
