"""Read data sets: find sequences, choose frames, transform and batch them; one module per dataset mode."""
