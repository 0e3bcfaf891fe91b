"""Names of the columns and error codes that `count_pixels` returns."""

INTER, UNION, N_GT, N_PRED, GT_MATCH, PRED_MATCH, PREDICTED = COUNT_COLUMNS = range(7)
OK, BAD_TRUTH, BAD_PREDICTION, BAD_VOID = range(4)  # error codes: which string is corrupt
