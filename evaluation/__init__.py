"""`make eval`: whole retrieval through the product, on sets of questions whose answers are known."""
