"""Dense linear algebra: symmetric positive definite solves and least squares, replicated or distributed."""
