#define HPCD_TARGET avx2
#include "worker_impl.hpp"
