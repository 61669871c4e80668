"""What a system measures of itself: `metrics` reads it, `validator` judges it."""
