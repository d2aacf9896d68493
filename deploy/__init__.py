"""What comes after the search: bundles, verification, fine-tuning of a point."""
