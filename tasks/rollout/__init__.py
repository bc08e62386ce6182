"""`retune rollout`: whether a version that takes over step by step goes on, waits or is rolled back."""
