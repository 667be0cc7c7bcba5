"""The methods: distributed kernel ridge regression, Kernel Inducing Points, Label Solve, evaluation."""
