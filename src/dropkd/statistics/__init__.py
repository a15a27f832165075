"""The statistics of evaluation, comparison and reports, on numpy alone."""
