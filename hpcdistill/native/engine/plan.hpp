// What an architecture asks for, worked out once: plain data that every instruction set's code reads.
//
// A level is what lies between two poolings. Within it the offset d = q − p of a pixel pair (p, q) never changes, so
// each offset is a plane of its own, and only offsets that the levels below read are evaluated. The layers after
// flatten or global average pooling are one more level, of images of a single pixel, where a 3×3 window holds nothing
// but that pixel and `dense` is a convolution.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace hpcdistill {

enum class Layer { conv, relu, pool, flatten, gap, dense };

// One [box filter] [ReLU] step; a level has at least one unit. Scales of everything linear since the last one (1/9 of a
// window, 1/16 of a pooling, 1/count of a mean, 1/channels) are folded into `scale`.
struct Unit {
  bool box, relu;
  bool tangent_in, tangent_out;  // whether T is carried; it is born at the first box filter
  double scale, bias;
  std::size_t map;  // where this ReLU's norms start among an image's norms
};

enum class Emit { pool, sum, result, nothing };

struct Level {
  int height, width;
  int radius_y, radius_x;  // largest |dy|, |dx| that matter
  int first_unit, n_units;
  bool tangent_in;  // whether the planes that enter carry T
  Emit emit;        // where rows of its last unit go

  int planes_x() const { return 2 * radius_x + 1; }
};

// Start of a plane and length of its rows in a level's store, in pixels. Each row ends with a pixel that stays zero.
struct PlaneStore {
  std::vector<std::size_t> start;
  std::size_t size = 0;
};

struct Plan {
  int height, width, channels;
  bool tangent;
  std::vector<Unit> units;
  std::vector<Level> levels;
  std::vector<PlaneStore> stores;  // of what enters each level; the first has none
  std::size_t norms = 0;           // norms of one image: a map per ReLU, level by level
};

// The network's kernel, and the covariance of an image with itself as far as its ReLUs need it (no level if it has
// none). Layers must be a list that hpcdistill.architecture accepts.
struct Plans {
  Plan pair, variance;
};
Plans make_plans(const std::vector<Layer>& layers, int height, int width, int channels, bool tangent, double w_variance,
                 double b_variance);

}  // namespace hpcdistill
